import java.util.Hashtable;
import javax.naming.Context;
import javax.naming.NamingException;
import javax.naming.directory.InitialDirContext;

/** Java's JNDI DNS, which sends its own packets. */
public final class Naming {
    private Naming() {}

    /** Arguments: name, seconds, and the server and port if not the machine's own. */
    public static void main(String[] args) {
        Hashtable<String, String> settings = new Hashtable<>();
        settings.put(Context.INITIAL_CONTEXT_FACTORY, "com.sun.jndi.dns.DnsContextFactory");
        settings.put("com.sun.jndi.dns.timeout.initial", Integer.parseInt(args[1]) * 1000 + "");
        settings.put("com.sun.jndi.dns.timeout.retries", "1");
        if (args.length > 2) {
            settings.put(Context.PROVIDER_URL, "dns://" + args[2] + ":" + args[3]);
        }
        try {
            System.out.println(new InitialDirContext(settings).getAttributes(args[0], new String[] {"A"}));
        } catch (NamingException error) {
            System.out.println(error);
            System.out.println(error.getCause());
        }
    }
}
