import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** Java's HTTP client. */
public final class Fetch {
    private Fetch() {}

    /** Arguments: host, port, seconds. */
    public static void main(String[] args) throws InterruptedException {
        HttpClient client =
                HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(Long.parseLong(args[2]))).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://" + args[0] + ":" + args[1] + "/")).build();
        try {
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.print(response.statusCode() + " " + response.body());
        } catch (IOException error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                System.out.println(cause);
            }
        }
    }
}
