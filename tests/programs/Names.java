// Names as Java's own DNS client sees them (JNDI), which reads resolv.conf and asks the name servers itself.

import java.util.Hashtable;
import java.util.TreeSet;
import javax.naming.NamingException;
import javax.naming.directory.Attribute;
import javax.naming.directory.DirContext;
import javax.naming.directory.InitialDirContext;

public final class Names {
    public static void main(String[] arguments) throws Exception {
        Hashtable<String, String> environment = new Hashtable<>();
        environment.put("java.naming.factory.initial", "com.sun.jndi.dns.DnsContextFactory");
        environment.put("java.naming.provider.url", "dns:");
        DirContext names = new InitialDirContext(environment);
        for (String question : arguments) {
            String[] parts = question.split("/");
            System.out.println(question + ": " + answer(names, parts[0], parts[1]));
        }
        names.close();
    }

    private static String answer(DirContext names, String name, String type) throws NamingException {
        try {
            Attribute found = names.getAttributes(name, new String[] {type}).get(type);
            if (found == null) {
                return "nothing";
            }
            TreeSet<String> values = new TreeSet<>();
            for (int index = 0; index < found.size(); index++) {
                values.add(found.get(index).toString());
            }
            return values.toString();
        } catch (NamingException error) {
            return error.getClass().getSimpleName();
        }
    }
}
