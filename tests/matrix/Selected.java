import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;

/** Java's NIO with a selector. */
public final class Selected {
    private Selected() {}

    /** Arguments: host, port, seconds. */
    public static void main(String[] args) {
        try (Selector selector = Selector.open(); SocketChannel channel = SocketChannel.open()) {
            channel.configureBlocking(false);
            channel.connect(new InetSocketAddress(args[0], Integer.parseInt(args[1])));
            channel.register(selector, SelectionKey.OP_CONNECT);
            if (selector.select(Long.parseLong(args[2]) * 1000) == 0) {
                System.out.println("not within the program's own timeout");
                return;
            }
            channel.finishConnect();
            System.out.println("connected to " + channel.getRemoteAddress());
            selector.keys().iterator().next().interestOps(SelectionKey.OP_READ);
            ByteBuffer buffer = ByteBuffer.allocate(100);
            do {
                selector.select();
            } while (channel.read(buffer) >= 0);
            System.out.print(StandardCharsets.UTF_8.decode(buffer.flip()));
        } catch (IOException | RuntimeException error) {
            System.out.println(error);
        }
    }
}
