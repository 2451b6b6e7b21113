// The JavaScript client of Kubernetes, with the container's own identity.
import { createRequire } from 'node:module';
// the packages of a folder that NODE_PATH names, which import does not look at
const k8s = await import(createRequire(import.meta.url).resolve('@kubernetes/client-node'));
const config = new k8s.KubeConfig();
config.loadFromCluster();
console.log(config.getCurrentCluster().server, config.getCurrentUser().name);
const namespace = process.env.POD_NAMESPACE;
const core = config.makeApiClient(k8s.CoreV1Api);
const pods = await core.listNamespacedPod({ namespace, labelSelector: 'app=app' });
console.log(pods.items.map((pod) => pod.spec.containers.map((container) => container.name)));
const review = config.makeApiClient(k8s.AuthenticationV1Api);
console.log((await review.createSelfSubjectReview({ body: {} })).status.userInfo.username);
try {
  await core.listNamespacedSecret({ namespace });
} catch (error) {
  console.log(error.code, JSON.parse(error.body).reason);
}
const map = await core.readNamespacedConfigMap({ namespace, name: 'settings' });
console.log(Object.keys(map.data).sort());
