//! Files: what stands below the shadow root equals what the container has, byte by byte.

use std::process::{Command, Stdio};
use std::time::Duration;

use kinject_tests::session::eventually;
use serde_json::json;

use crate::home::Home;
use crate::image::NodeImage;
use crate::relay::request;
use crate::sources::{APP, MIRRORED, deployment, sources};

/// Lists what is below a path: type, permissions and name, the target of links, the digest of files.
const LIST: &str = r#"cd "$1" 2>/dev/null || cd "${1%/*}"
find "$(if [ -d "$1" ]; then echo .; else echo "./${1##*/}"; fi)" | sort | while read -r file; do
    if [ -L "$file" ]; then echo "link $file $(readlink "$file")"
    elif [ -d "$file" ]; then echo "$(stat -c '%A' "$file") $file"
    else echo "$(stat -c '%A' "$file") $file $(sha256sum < "$file")"
    fi
done"#;

/// How long a change may take to arrive: the kubelet looks once a minute, and at once after its pod was annotated.
const ARRIVAL: Duration = Duration::from_secs(120);

/// The list without the times in the names of the kubelet's folders.
fn without_times(list: &[u8]) -> String {
    let text = String::from_utf8(list.to_vec()).unwrap();
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find("..2") {
        plain.push_str(&rest[..start]);
        plain.push_str("..TIME");
        let time = &rest[start + 2..];
        let end = time.find(|c: char| !c.is_ascii_digit() && !"_.".contains(c));
        rest = &time[end.unwrap_or(time.len())..];
    }
    plain + rest
}

#[test]
fn mirrored_files_equal_those_of_the_container_with_modes_and_links() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "files");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let pod = home.running_pod(APP);
    let session = home.session(request(APP)).unwrap();
    for path in MIRRORED {
        let bare = home.exec(&pod, APP, &["sh", "-c", LIST, "list", path]);
        let shadow = session.shadow(path);
        let mirrored = Command::new("/bin/busybox")
            .args(["sh", "-c", LIST, "list"])
            .arg(&shadow)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (mirrored, bare) = (without_times(&mirrored.stdout), without_times(&bare));
        assert!(bare.lines().count() > 0, "{path}");
        assert_eq!(mirrored, bare, "{path}");
    }
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    let token = std::fs::read_to_string(session.shadow(token)).unwrap();
    assert_eq!(token.split('.').count(), 3, "a JSON Web Token");
    assert!(session.shadow("/cache").is_dir());
}

#[test]
fn changed_config_map_arrives_in_a_running_session() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "change");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    home.running_pod(APP);
    let session = home.session(request(APP)).unwrap();
    let file = session.shadow("/etc/config/app.yaml");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "port: 80\n");
    home.kubectl(&[
        "patch",
        "configmap",
        "config",
        "--patch",
        r#"{"data":{"app.yaml":"port: 81\n"}}"#,
    ]);
    // the kubelet looks at once when its pod changes
    let selector = "app.kubernetes.io/name=kinject-agent";
    home.kubectl(&["annotate", "pod", "--selector", selector, "changed=yes"]);
    eventually("the changed file", ARRIVAL, || {
        std::fs::read_to_string(&file).is_ok_and(|text| text == "port: 81\n")
    });
}

/// The kubelet keeps the files of a pod that runs.
#[test]
fn deleted_config_map_keeps_its_files_in_a_running_session() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "deleted");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let session = home.session(request(APP)).unwrap();
    let file = session.shadow("/etc/config/app.yaml");
    home.kubectl(&["delete", "configmap", "config"]);
    // the kubelet looks at once when its pod changes
    let selector = "app.kubernetes.io/name=kinject-agent";
    home.kubectl(&["annotate", "pod", "--selector", selector, "changed=yes"]);
    eventually("the kubelet misses it", ARRIVAL, || {
        let events = home.kubectl(&[
            "get",
            "events",
            "--field-selector",
            "reason=FailedMount",
            "--output",
            "json",
        ]);
        events.contains("kinject-agent-") && events.contains("configmap \\\"config\\\" not found")
    });
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "port: 80\n");
    assert_eq!(session.notices, []);
}

#[test]
fn session_without_files_has_variables_and_no_volume() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "none");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let mut without = request(APP);
    without.files = false;
    let session = home.session(without).unwrap();
    assert_eq!(session.workload.paths, None);
    assert_eq!(session.variable("PASSWORD").unwrap(), "hunter2");
    let spec = home.jobs()[0]["spec"]["template"]["spec"].clone();
    let volumes = spec["volumes"].as_array().unwrap();
    let of_workload = volumes.iter().filter(|volume| !volume["configMap"].is_null());
    assert_eq!(of_workload.count(), 0, "{volumes:?}");
    assert_eq!(spec["automountServiceAccountToken"], json!(false));
}
