import io.fabric8.kubernetes.api.model.Container;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.util.TreeSet;

/** Fabric8's client of Kubernetes, with the container's own identity. */
public class Fabric8 {
    public static void main(String[] arguments) {
        try (KubernetesClient client = new KubernetesClientBuilder().build()) {
            System.out.println(client.getMasterUrl() + " " + client.getConfiguration().getCaCertFile());
            String namespace = System.getenv("POD_NAMESPACE");
            System.out.println(namespace.equals(client.getNamespace()));
            for (Pod pod : client.pods().inNamespace(namespace).withLabel("app", "app").list().getItems()) {
                for (Container container : pod.getSpec().getContainers()) {
                    System.out.println(container.getName());
                }
            }
            System.out.println(new TreeSet<>(client.configMaps().withName("settings").get().getData().keySet()));
            try {
                client.secrets().list();
            } catch (KubernetesClientException error) {
                System.out.println(error.getCode() + " " + error.getStatus().getReason());
            }
        }
    }
}
