//! A program under `kinject run --target`, which finds what a program in the workload's container finds.

use crate::home::Home;
use crate::image::NodeImage;
use crate::sources::{APP, deployment, sources};

/// Prints a variable, a file of a ConfigMap, the account's token, two names of the pod's hosts file and the host name.
const PRINT: &str = r#"printenv PASSWORD
cat /etc/config/app.yaml
cut -d. -f1 /var/run/secrets/kubernetes.io/serviceaccount/token | wc -l
getent hosts legacy
getent ahostsv4 "$(hostname)" | cut -d' ' -f1 | uniq
hostname
printenv HOSTNAME POD_NAME"#;

#[test]
fn program_finds_variables_files_names_and_host_name_of_the_container() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "programs");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let outcome = home.kinject(&["--target", "deploy/app", "--", "sh", "-c", PRINT]);
    outcome.succeeded();
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let [password, file, token, legacy, address, name, variable, pod_name] = lines[..] else {
        panic!("{outcome}");
    };
    assert_eq!((password, file, token), ("hunter2", "port: 80", "1"), "{outcome}");
    let legacy: Vec<_> = legacy.split_whitespace().collect();
    assert_eq!(legacy, ["10.99.99.99", "legacy", "legacy.example"], "{outcome}");
    assert!(address.starts_with("10.244."), "{outcome}");
    assert!(name.starts_with("kinject-agent-"), "{outcome}");
    assert_eq!((name, name), (variable, pod_name), "{outcome}");
}

#[test]
fn environment_of_the_workload_is_printed_for_other_programs() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "printed");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let outcome = home.kinject_env(&["--target", APP, "--output", "json"]);
    outcome.succeeded();
    let printed: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(printed["QUOTES"], "'single' \"double\" `back`");
    assert_eq!(printed["NEWLINES"], "one\ntwo\n");
}
