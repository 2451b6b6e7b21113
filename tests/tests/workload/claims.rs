//! Volumes that not every pod can mount.

use kinject_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::home::Home;
use crate::image::NodeImage;
use crate::relay::request;

/// A volume of the cluster's, which is removed with this value.
struct Volume {
    cluster: Cluster,
    name: String,
}

impl Volume {
    /// A folder of the node for the claim of a StatefulSet's first replica.
    fn for_claim(home: &Home, mode: &str) -> Self {
        let name = format!("kinject-test-{}", home.name());
        let volume = json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name }, "spec": {
            "capacity": { "storage": "1Mi" }, "accessModes": [mode], "storageClassName": "none",
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": { "path": format!("/tmp/{name}"), "type": "DirectoryOrCreate" },
            "claimRef": { "name": "data-db-0", "namespace": home.name() },
        } });
        home.cluster.apply(&volume.to_string()).unwrap();
        Self {
            cluster: home.cluster.clone(),
            name,
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let delete = ["delete", "persistentvolume", "--wait=false", &self.name];
        if let Err(error) = self.cluster.kubectl(&delete) {
            eprintln!("volume {} is left behind: {error:#}", self.name);
        }
    }
}

/// A StatefulSet that writes a file into its claim.
fn statefulset(image: &str, mode: &str) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "db" }, "spec": {
        "serviceName": "db",
        "selector": { "matchLabels": { "app": "db" } },
        "template": {
            "metadata": { "labels": { "app": "db" } },
            "spec": { "terminationGracePeriodSeconds": 0, "containers": [{
                "name": "db", "image": image, "imagePullPolicy": "Never", "securityContext": { "runAsUser": 0 },
                "command": ["sh", "-c", "echo of the claim > /data/file; exec sleep 3600"],
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
            }] },
        },
        "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {
            "accessModes": [mode], "storageClassName": "none", "resources": { "requests": { "storage": "1Mi" } },
        } }],
    } })
}

#[test]
fn claim_of_a_statefulset_is_mounted_on_the_node_of_its_first_replica() {
    let Some(home) = Home::new("privileged") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "claim");
    let _volume = Volume::for_claim(&home, "ReadWriteOnce");
    home.apply(&[statefulset(&image.name, "ReadWriteOnce")]);
    home.running_pod("db");
    let session = home.session(request("sts/db")).unwrap();
    let spec = home.jobs()[0]["spec"]["template"]["spec"].clone();
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(
        required["nodeSelectorTerms"][0]["matchFields"][0]["key"], "metadata.name",
        "{required}"
    );
    let volumes = spec["volumes"].as_array().unwrap();
    let mut claims = volumes
        .iter()
        .map(|volume| &volume["persistentVolumeClaim"]["claimName"]);
    assert!(claims.any(|claim| claim == "data-db-0"), "{volumes:?}");
    let paths = session.workload.paths.as_ref().unwrap().to_str().unwrap();
    assert!(paths.contains(":r/data"), "{paths}");
}

#[test]
fn claim_of_one_pod_is_refused_before_anything_is_made_and_left_out_without_files() {
    let Some(home) = Home::new("privileged") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "claim-of-one");
    let _volume = Volume::for_claim(&home, "ReadWriteOncePod");
    home.apply(&[statefulset(&image.name, "ReadWriteOncePod")]);
    home.running_pod("db");
    let refused = home.session(request("sts/db")).err().unwrap();
    assert!(
        refused.words().contains("(ReadWriteOncePod): db-0 does"),
        "{}",
        refused.words()
    );
    assert!(refused.words().contains("--files none"), "{}", refused.words());
    assert_eq!(home.jobs(), Vec::<Value>::new(), "nothing was made");
    let mut without = request("sts/db");
    without.files = false;
    let session = home.session(without).unwrap();
    assert_eq!(session.workload.paths, None);
}
