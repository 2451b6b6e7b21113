"""The Python client of Kubernetes, with the container's own identity."""

import os

from kubernetes import client, config, watch

config.load_incluster_config()
namespace = open("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read()
print(namespace == os.environ["POD_NAMESPACE"], client.Configuration.get_default_copy().host)
core = client.CoreV1Api()
pods = core.list_namespaced_pod(namespace, label_selector="app=app").items
print([[container.name for container in pod.spec.containers] for pod in pods])
print(client.AuthenticationV1Api().create_self_subject_review({}).status.user_info.username)
try:
    core.list_namespaced_secret(namespace)
except client.ApiException as error:
    print(error.status, error.reason)
for event in watch.Watch().stream(core.list_namespaced_config_map, namespace, field_selector="metadata.name=settings"):
    print(event["type"], sorted(event["object"].data))
    break
print(client.VersionApi().get_code().major)
