//! Host images that the node pulls, from a registry in its own network.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use kinject_image::{Image, digest};
use kinject_tests::carried::architecture;
use kinject_tests::cluster::Cluster;
use kinject_tests::foreign_images::static_program;
use kinject_tests::registry::{self, PASSWORD, Registry, USER};
use kinject_tests::running::run;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::namespace::{TestNamespace, assert_answered};

/// A registry on the node's loopback, which is spoken to without TLS, and which wants a login.
struct NodeRegistry<'a> {
    cluster: &'a Cluster,
    /// HOST:PORT.
    name: String,
    _registry: Registry,
}

impl<'a> NodeRegistry<'a> {
    /// None where it is not installed.
    fn start(cluster: &'a Cluster) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        let login = registry::login(folder.path());
        // below the ports of Services and of clients; nothing else of the node listens there
        let number = 2 * std::process::id() + COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("127.0.0.1:{}", 20_000 + number % 9_000);
        let registry = Registry::start(folder, &name, &login, |program| in_node(cluster, program))?;
        Some(Self {
            cluster,
            name,
            _registry: registry,
        })
    }

    /// Puts an image of a static program that sleeps into the registry, and returns the name by which it is pulled.
    fn push(&self) -> String {
        let image = self.image();
        let loaded = self.cluster.load_image(&image, architecture()).unwrap();
        self.push_loaded(loaded.name());
        image.name
    }

    /// The same with an index, by which a node chooses an image of its own architecture, and which has one of this
    /// architecture alone.
    fn push_index(&self, architecture: &str) -> String {
        let image = self.image();
        let archive = index_archive(&image, architecture);
        let containerd = self.cluster.containerd();
        let _loaded = NodeImage(self.cluster, image.name.clone());
        // the node cannot unpack it
        let import = ["images", "import", "--all-platforms", "--no-unpack"];
        run(containerd.ctr().args(import).arg(archive.path())).succeeded();
        self.push_loaded(&image.name);
        image.name
    }

    fn image(&self) -> Image {
        static_program(&format!("{}/", self.name), "65532", &["sleep", "3600"])
    }

    fn push_loaded(&self, name: &str) {
        let containerd = self.cluster.containerd();
        let mut push = containerd.ctr_in_network_of(self.cluster.node().unwrap());
        push.args(["images", "push", "--plain-http", "--user"])
            .arg(format!("{USER}:{PASSWORD}"))
            .arg(name);
        run(&mut push).succeeded();
    }

    /// Makes a Secret with the login.
    fn login(&self, namespace: &TestNamespace) {
        let (server, name) = (format!("--docker-server={}", self.name), namespace.name());
        let (user, password) = (
            format!("--docker-username={USER}"),
            format!("--docker-password={PASSWORD}"),
        );
        let create = [
            "--namespace",
            name,
            "create",
            "secret",
            "docker-registry",
            "login",
        ];
        let login = [server.as_str(), &user, &password];
        self.cluster.kubectl(&[&create[..], &login].concat()).unwrap();
    }
}

/// An archive in the OCI image layout, in which the image's name leads to an index with a manifest for one architecture.
fn index_archive(image: &Image, architecture: &str) -> NamedTempFile {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |kind: &str, content: &[u8]| {
        let digest = digest(content);
        fs::write(blobs.join(&digest), content).unwrap();
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{digest}"),
            "size": content.len(),
        })
    };
    let parts = image.parts(architecture).unwrap();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", &parts.config),
        "layers": [blob("layer.v1.tar", &parts.layer)],
    });
    let mut manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
    manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    let mut index = blob("index.v1+json", index.to_string().as_bytes());
    index["annotations"] = json!({ "io.containerd.image.name": image.name });
    let top = json!({ "schemaVersion": 2, "manifests": [index] });
    fs::write(folder.path().join("index.json"), top.to_string()).unwrap();
    fs::write(
        folder.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    let archive = NamedTempFile::new().unwrap();
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(archive.path());
    tar.arg("--directory").arg(folder.path()).arg(".");
    run(&mut tar).succeeded();
    archive
}

/// A program of this machine in the node's network.
fn in_node(cluster: &Cluster, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--net", "--target", &cluster.node().unwrap().to_string(), program]);
    command
}

/// An image on the node, which is removed with this value, or before while a container runs that was made of it.
struct NodeImage<'a>(&'a Cluster, String);

impl NodeImage<'_> {
    fn remove(&self) {
        self.0.containerd().remove(&self.1).unwrap();
    }
}

impl Drop for NodeImage<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.containerd().remove(&self.1) {
            eprintln!("the image {} may still be on the node: {error:#}", self.1);
        }
    }
}

/// The node has lost the image when the agent's pod starts, so that it is pulled again.
#[test]
fn pull_secrets_of_a_running_pod_are_used_with_its_image() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let Some(registry) = NodeRegistry::start(&namespace.cluster) else {
        return;
    };
    let image = registry.push();
    let pulled = NodeImage(&namespace.cluster, image.clone());
    // without the login the registry gives nothing
    namespace
        .ask(&["--host-image", &image])
        .exited(125)
        .complains(&format!(
            "the node cannot get the image {image}, in which the agent runs"
        ));
    registry.login(&namespace);
    namespace.run_pod_pulled_with("app", &image, &["/busybox", "sleep", "3600"], &["login"]);
    pulled.remove();
    let outcome = namespace.ask(&["-v"]);
    assert_answered(&outcome);
    outcome.complains(&format!("the agent runs in the image {image}: pod app runs it"));
    namespace.is_clean();
}

/// A registry's image without an index runs on any node, since nothing of it is executed.
#[test]
fn host_image_for_another_architecture_alone_is_refused_by_name() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let Some(registry) = NodeRegistry::start(&namespace.cluster) else {
        return;
    };
    let other = match architecture() {
        "amd64" => "arm64",
        _ => "amd64",
    };
    let image = registry.push_index(other);
    // a node that takes it after all has pulled it
    let _pulled = NodeImage(&namespace.cluster, image.clone());
    registry.login(&namespace);
    let name = ["--namespace", namespace.name()];
    // what is pulled with --host-image is pulled with the login of the pod's service account
    let patch = r#"{"imagePullSecrets":[{"name":"login"}]}"#;
    let account = [
        "patch",
        "serviceaccount",
        "default",
        "--type=merge",
        "--patch",
        patch,
    ];
    namespace
        .cluster
        .kubectl(&[&name[..], &account].concat())
        .unwrap();
    namespace
        .ask(&["--host-image", &image])
        .exited(125)
        .complains(&format!(
            "the node cannot get the image {image}, in which the agent runs"
        ))
        .complains("no match for platform")
        .complains(&format!(
            "\n\nhint: this kinject carries agents for {}",
            architecture()
        ))
        .complains("--host-image");
    namespace.is_clean();
}
