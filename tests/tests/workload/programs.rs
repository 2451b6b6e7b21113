//! A program under `kinject run --target`, which finds what a program in the workload's container finds.

use kinject_tests::running::run_within;

use crate::home::{Home, STARTED};
use crate::image::NodeImage;
use crate::sources::{deployment, sources};

/// Prints a variable, a file of a ConfigMap, the account's token, two names of the pod's hosts file and the host name.
const PRINT: &str = r#"printenv PASSWORD
cat /etc/config/app.yaml
cut -d. -f1 /var/run/secrets/kubernetes.io/serviceaccount/token | wc -l
getent hosts legacy
getent ahostsv4 "$(hostname)" | cut -d' ' -f1 | uniq
hostname
printenv HOSTNAME POD_NAME"#;

/// getent asks for IPv6 addresses first, which the name has not.
#[test]
fn name_of_the_pods_hosts_file_without_an_address_of_the_family_is_not_reported_as_unknown() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "alias");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let mut kinject = home.kinject("run");
    kinject.args(["--target", "deploy/app", "--", "getent", "hosts", "legacy"]);
    let outcome = run_within(&mut kinject, STARTED);
    outcome.succeeded().shows("10.99.99.99");
    assert!(!outcome.stderr.contains("has no name"), "{outcome}");
}

#[test]
fn program_finds_variables_files_names_and_host_name_of_the_container() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "hosts-file");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let mut kinject = home.kinject("run");
    kinject.args(["--quiet", "--target", "deploy/app", "--", "sh", "-c", PRINT]);
    let outcome = run_within(&mut kinject, STARTED);
    outcome.succeeded();
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let [password, file, token, legacy, address, name, variable, pod_name] = lines[..] else {
        panic!("{outcome}");
    };
    assert_eq!((password, file, token), ("hunter2", "port: 80", "1"), "{outcome}");
    let legacy: Vec<_> = legacy.split_whitespace().collect();
    assert_eq!(legacy, ["10.99.99.99", "legacy"], "{outcome}");
    assert!(address.starts_with("10.244."), "{outcome}");
    assert!(name.starts_with("kinject-agent-"), "{outcome}");
    assert_eq!((name, name), (variable, pod_name), "{outcome}");
}
