//! A program under `kinject run --target`, which finds what a program in the workload's container finds.

use kinject_tests::running::run_within;

use crate::home::{Home, STARTED};
use crate::image::{CONTENT, COPIED, NodeImage};
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

/// Copies a file of the image by each program that is there: all ask for the status first, and compare it with that of
/// the file that they open.
const COPY: &str = r#"set -e
copies=$(mktemp -d)
trap 'rm -r "$copies"' EXIT
cd "$copies"
for program in "$@"; do
    file=/srv/files/$program
    command -v "$program" > /dev/null || continue
    case $program in
    tar) tar -cf archive -C /srv/files tar; tar -xf archive ;;
    rsync) rsync -a "$file" . ;;
    python3) python3 -c 'import shutil, sys; shutil.copy2(sys.argv[1], ".")' "$file" ;;
    *) "$program" "$file" . ;;
    esac
    cmp "$program" "$file"
    wc -c < "$program"
done"#;

#[test]
fn remote_files_are_copied_by_programs_that_compare_status_and_open_file() {
    let Some(home) = Home::new("restricted") else {
        return;
    };
    let image = NodeImage::load(&home.cluster, "copied");
    home.apply(&sources());
    home.apply(&[deployment(&image.name)]);
    let mut kinject = home.kinject("run");
    kinject.args(["--quiet", "--target", "deploy/app", "--remote-path", "/srv/files"]);
    kinject.args(["--", "sh", "-c", COPY, "sh"]).args(COPIED);
    let outcome = run_within(&mut kinject, STARTED);
    outcome.succeeded();
    let length = (CONTENT.len() * 20_000).to_string();
    let lengths: Vec<_> = outcome.stdout.lines().collect();
    assert!(lengths.len() >= 3, "{outcome}");
    assert!(lengths.iter().all(|found| *found == length), "{outcome}");
}
