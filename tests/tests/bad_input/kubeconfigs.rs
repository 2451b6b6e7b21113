//! Kubeconfigs that cannot be used: errors name the file and the location, give a hint, and show none of its text.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use kinject_tests::programs::Program;
use kinject_tests::running::{Outcome, run};
use kinject_tests::{binaries, ordinary};
use tempfile::TempDir;

const SECRET: &str = "s3cr3t-t0ken";

/// A folder with one kubeconfig in it.
struct TestKubeconfig(TempDir);

impl TestKubeconfig {
    fn with(text: &str) -> Self {
        let config = Self(tempfile::tempdir().unwrap());
        fs::write(config.file(), text).unwrap();
        config
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("config")
    }

    /// The outcome of `kinject run` with it.
    fn outcome(&self, flags: &[&str]) -> Outcome {
        run(kinject()
            .arg("--kubeconfig")
            .arg(self.file())
            .args(flags)
            .arg("true"))
    }
}

fn kinject() -> Command {
    let mut command = Command::new(binaries::kinject());
    command
        .arg("run")
        .env_remove("KUBECONFIG")
        .env("HOME", "/nonexistent");
    command
}

/// Asserts one error with its hint, which names no other file or command.
#[track_caller]
fn says(outcome: &Outcome, error: &str, hint: &str) {
    outcome.exited(125);
    assert_eq!(
        outcome.stderr,
        format!("kinject: error: {error}\n\nhint: {hint}\n"),
        "{outcome}"
    );
}

/// A kubeconfig whose context has this cluster and user.
fn kubeconfig(cluster: &str, user: &str, clusters: &str, users: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         contexts: [{{name: here, context: {{cluster: {cluster}, user: {user}}}}}]\n\
         clusters: [{clusters}]\nusers: [{users}]\n"
    )
}

const CLUSTER: &str = "{name: home, cluster: {server: 'https://127.0.0.1:1'}}";
const USER: &str = "{name: me, user: {token: s3cr3t-t0ken}}";

#[test]
fn invalid_kubeconfig_is_named_with_line_and_column_without_its_text() {
    for (text, location) in [
        (
            "kind: Config\nusers:\n- name: a\n  user:\n    token: s3cr3t-t0ken\n   bad: x\n",
            " at line 6, column 4",
        ),
        ("kind: Config\nusers: s3cr3t-t0ken\n", " at line 2, column 8"),
        (
            "users: [{name: a, user: {token: [s3cr3t-t0ken]}}]\n",
            " at line 1, column 33",
        ),
        (
            "users: [{name: a, user: {exec: {interactiveMode: s3cr3t-t0ken}}}]\n",
            " at line 1, column 50",
        ),
        ("s3cr3t-t0ken\n", " at line 1, column 1"),
    ] {
        let config = TestKubeconfig::with(text);
        says(
            &config.outcome(&[]),
            &format!(
                "the kubeconfig {} is not valid{location}",
                config.file().display()
            ),
            "check indentation and quotes there, and that it is a kubeconfig",
        );
    }
}

#[test]
fn invalid_kubeconfig_among_several_is_named() {
    let good = TestKubeconfig::with(&kubeconfig("home", "me", CLUSTER, USER));
    let bad = TestKubeconfig::with("users: s3cr3t-t0ken\n");
    let list = format!("{}:/no/such/file:{}", good.file().display(), bad.file().display());
    let outcome = run(kinject().arg("true").env("KUBECONFIG", list));
    outcome.exited(125).complains(&format!(
        "kinject: error: the kubeconfig {} is not valid at line 1, column 8\n",
        bad.file().display()
    ));
    assert!(
        !outcome.stderr.contains(&format!("{}", good.file().display())),
        "{outcome}"
    );
    assert!(!outcome.stderr.contains(SECRET), "{outcome}");
}

#[test]
fn kubeconfig_without_contexts_is_an_error_for_any_context() {
    for text in ["", "# nothing\n", "apiVersion: v1\nkind: Config\n", "{}"] {
        let config = TestKubeconfig::with(text);
        for flags in [&[][..], &["--context", "dev"]] {
            says(
                &config.outcome(flags),
                &format!(
                    "the kubeconfig {} names no cluster: it has no context",
                    config.file().display()
                ),
                "kind, minikube, k3s or a cloud's command line writes one, or the cluster's administrator",
            );
        }
    }
}

#[test]
fn kubeconfig_without_current_context_lists_its_contexts() {
    let text = kubeconfig("home", "me", CLUSTER, USER).replace("current-context: here\n", "");
    let config = TestKubeconfig::with(&text);
    says(
        &config.outcome(&[]),
        &format!(
            "the kubeconfig {} has no current context",
            config.file().display()
        ),
        "choose one with --context: here",
    );
}

#[test]
fn undefined_cluster_or_user_of_a_context_is_named() {
    let away = TestKubeconfig::with(&kubeconfig("away", "me", CLUSTER, USER));
    says(
        &away.outcome(&[]),
        &format!(
            "context \"here\" names the cluster \"away\", which the kubeconfig {} does not have",
            away.file().display()
        ),
        "it has: home; `kubectl config set-context here --cluster=NAME` names another",
    );
    let foreign = TestKubeconfig::with(&kubeconfig("home", "you", CLUSTER, USER));
    says(
        &foreign.outcome(&[]),
        &format!(
            "context \"here\" names the user \"you\", which the kubeconfig {} does not have",
            foreign.file().display()
        ),
        "it has: me; `kubectl config set-context here --user=NAME` names another",
    );
    let nowhere = TestKubeconfig::with(&kubeconfig("''", "me", CLUSTER, USER));
    nowhere
        .outcome(&[])
        .exited(125)
        .complains("context \"here\" in the kubeconfig ")
        .complains("names no cluster\n");
}

/// A certificate in PEM that holds `!!`.
const BROKEN: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCiEhCi0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K";

#[test]
fn unusable_kubeconfig_data_is_named_and_not_shown() {
    for (cluster, user, words) in [
        (
            "server: 'https://me:s3cr3t-t0ken@ x'",
            "token: t",
            "the server of the context's cluster in the kubeconfig ",
        ),
        (
            "certificate-authority: /no/ca",
            "token: t",
            "cannot read /no/ca, the certificate authority in the kubeconfig ",
        ),
        (
            "certificate-authority-data: 's3cr3t-t0ken!'",
            "token: t",
            "the certificate authority in the kubeconfig ",
        ),
        (
            &format!("certificate-authority-data: {BROKEN}"),
            "token: t",
            "the certificate authority in the kubeconfig ",
        ),
        (
            "insecure-skip-tls-verify: true",
            "client-certificate-data: 's3cr3t-t0ken!', client-key-data: cw==",
            "the client certificate in the kubeconfig ",
        ),
        (
            "insecure-skip-tls-verify: true",
            "client-certificate-data: cw==, client-key-data: cw==",
            "the certificates or the key in the kubeconfig ",
        ),
    ] {
        let server = if cluster.starts_with("server") {
            ""
        } else {
            "server: 'https://127.0.0.1:1', "
        };
        let clusters = format!("{{name: home, cluster: {{{server}{cluster}}}}}");
        let users = format!("{{name: me, user: {{{user}}}}}");
        let config = TestKubeconfig::with(&kubeconfig("home", "me", &clusters, &users));
        let outcome = config.outcome(&[]);
        outcome
            .exited(125)
            .complains(&format!("kinject: error: {words}"))
            .complains(&format!("{}", config.file().display()))
            .complains("\n\nhint: ");
        assert!(!outcome.stderr.contains(SECRET), "{outcome}");
    }
}

#[test]
fn missing_kubeconfig_lists_the_files_looked_for() {
    let hint = "kind, minikube, k3s or a cloud's command line writes one, or the cluster's administrator";
    says(
        &run(kinject().arg("true")),
        "there is no kubeconfig: /nonexistent/.kube/config does not exist, and KUBECONFIG is not set",
        hint,
    );
    says(
        &run(kinject().arg("true").env("KUBECONFIG", "/no/such:/nor/this")),
        "there is no kubeconfig at /no/such, /nor/this, which KUBECONFIG names",
        hint,
    );
    says(
        &run(kinject().args(["--kubeconfig", "/no/such", "true"])),
        "there is no kubeconfig at /no/such, which --kubeconfig names",
        hint,
    );
}

#[test]
fn unexpanded_tilde_in_a_kubeconfig_path_is_reported() {
    says(
        &run(kinject().args(["--kubeconfig=~/x", "true"])),
        "--kubeconfig ~/x: the shell has not replaced ~",
        "it does at the beginning of a word alone: write $HOME/x",
    );
    says(
        &run(kinject().arg("true").env("KUBECONFIG", "~/x")),
        "there is no kubeconfig at ~/x, which KUBECONFIG names",
        "the shell has not replaced ~ there: write $HOME instead",
    );
}

#[test]
fn folder_or_file_of_another_user_as_kubeconfig_is_an_error() {
    let config = TestKubeconfig::with("");
    let folder = config.0.path();
    says(
        &run(kinject().arg("--kubeconfig").arg(folder).arg("true")),
        &format!("cannot read the kubeconfig {}: is a directory", folder.display()),
        "name the file in it with --kubeconfig or KUBECONFIG",
    );
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(config.file(), Permissions::from_mode(0o000)).unwrap();
    says(
        &as_ordinary_user(&config.file()),
        &format!(
            "cannot read the kubeconfig {}: permission denied",
            config.file().display()
        ),
        "it belongs to somebody else: name a copy of your own with --kubeconfig or KUBECONFIG",
    );
}

fn as_ordinary_user(kubeconfig: &Path) -> Outcome {
    let kinject = Program::new(binaries::kinject())
        .args(["run", "--kubeconfig"])
        .arg(kubeconfig)
        .arg("true");
    let program = ordinary::program(&kinject);
    run(program.command().env_remove("XDG_RUNTIME_DIR"))
}
