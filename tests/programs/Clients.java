import java.io.IOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NoRouteToHostException;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.net.UnknownHostException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.channels.AsynchronousSocketChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/** What Java does to connect: blocking sockets, NIO, asynchronous channels and its HTTP client. */
public final class Clients {
    private Clients() {}

    static void say(String what, Callable<Object> call) {
        Object result;
        try {
            result = call.call();
        } catch (UnknownHostException error) {
            result = "unknown host";
        } catch (NoRouteToHostException error) {
            result = "no route: " + error.getMessage();
        } catch (ConnectException error) {
            result = "connect: " + error.getMessage();
        } catch (SocketTimeoutException error) {
            result = "timeout";
        } catch (Exception error) {
            Throwable cause = error.getCause() == null ? error : error.getCause();
            result = cause.getClass().getSimpleName();
        }
        System.out.println(what + ": " + result);
    }

    static String blocking(String host, int port, int timeout) throws IOException {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(InetAddress.getByName(host), port), timeout);
            String received = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8).trim();
            return socket.getInetAddress().getHostAddress() + " " + socket.getPort() + " " + received;
        }
    }

    static String selected(String host, int port, long timeout) throws IOException {
        try (Selector selector = Selector.open(); SocketChannel channel = SocketChannel.open()) {
            channel.configureBlocking(false);
            boolean atOnce = channel.connect(new InetSocketAddress(InetAddress.getByName(host), port));
            channel.register(selector, SelectionKey.OP_CONNECT);
            if (!atOnce && selector.select(timeout) == 0) {
                return "pending " + channel.isConnectionPending();
            }
            channel.finishConnect();
            channel.register(selector, SelectionKey.OP_READ);
            ByteBuffer buffer = ByteBuffer.allocate(64);
            while (true) {
                selector.select(5000);
                if (channel.read(buffer) < 0) {
                    break;
                }
            }
            String received = new String(buffer.array(), 0, buffer.position(), StandardCharsets.UTF_8).trim();
            return channel.getRemoteAddress() + " " + received;
        }
    }

    static String asynchronous(String host, int port) throws Exception {
        try (AsynchronousSocketChannel channel = AsynchronousSocketChannel.open()) {
            channel.connect(new InetSocketAddress(host, port)).get(5, TimeUnit.SECONDS);
            ByteBuffer buffer = ByteBuffer.allocate(64);
            channel.read(buffer).get(5, TimeUnit.SECONDS);
            return new String(buffer.array(), 0, buffer.position(), StandardCharsets.UTF_8).trim();
        }
    }

    static String http(String uri) throws Exception {
        HttpClient client = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(uri)).build();
        HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
        return response.statusCode() + " " + response.body().trim();
    }

    static String addresses(String name) throws UnknownHostException {
        return Arrays.stream(InetAddress.getAllByName(name))
            .map(InetAddress::getHostAddress)
            .sorted()
            .collect(Collectors.joining(" "));
    }

    public static void main(String[] arguments) {
        String pod = arguments[0];
        say("blocking", () -> blocking("echo", 7005, 5000));
        say("blocking without a timeout", () -> blocking("10.96.10.3", 7005, 0));
        say("blocking, refused", () -> blocking(pod, 4444, 5000));
        say("blocking without a timeout, refused", () -> blocking(pod, 4444, 0));
        say("blocking, unroutable", () -> blocking("unroutable.external.test", 7005, 5000));
        say("blocking, silent", () -> blocking("198.18.0.1", 7005, 400));
        say("blocking, unknown", () -> blocking("missing.external.test", 80, 5000));
        say("selected", () -> selected("echo", 7005, 5000));
        say("selected, refused", () -> selected(pod, 4444, 5000));
        say("selected, silent", () -> selected("198.18.0.1", 7005, 400));
        say("asynchronous", () -> asynchronous("echo", 7005));
        say("asynchronous, refused", () -> asynchronous(pod, 4444));
        say("http", () -> http("http://web/"));
        say("http elsewhere", () -> http("http://web.other/"));
        say("addresses", () -> addresses("db"));
        say("no addresses", () -> addresses("missing"));
    }
}
