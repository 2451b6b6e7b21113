import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;

/** Java's blocking sockets. */
public final class Blocking {
    private Blocking() {}

    /** Arguments: host, port, seconds. */
    public static void main(String[] args) {
        int milliseconds = Integer.parseInt(args[2]) * 1000;
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(args[0], Integer.parseInt(args[1])), milliseconds);
            System.out.println("connected to " + socket.getRemoteSocketAddress());
            System.out.print(new String(socket.getInputStream().readAllBytes()));
        } catch (IOException error) {
            System.out.println(error);
        }
    }
}
