//! Messages of a session that loses its agent, and sessions that end because another user deletes their Job or
//! namespace.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kinject_tests::programs::{Program, c, shell};
use kinject_tests::running::{run, spawn};
use kinject_tests::session::{eventually, relay_of, write_line};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::broken::ports_to_api_server;
use crate::gate::Gate;
use crate::namespace::TestNamespace;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A running `kinject run` whose standard error is read line by line; its program ends with its standard input.
struct KinjectRun {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl KinjectRun {
    fn start(namespace: &TestNamespace, flags: &[&str]) -> Self {
        Self::of(namespace.kinject(flags, &shell("echo up >&2; cat")))
    }

    /// The same for a command whose program prints `up`.
    fn of(mut command: Command) -> Self {
        let mut child = spawn(command.stdin(Stdio::piped()));
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines() {
                // the test may be over
                let _unheard = sender.send(line.unwrap()).is_err();
            }
        });
        let kinject = Self { child, lines };
        // other lines contain the word, too
        while kinject.line("up") != "up" {}
        kinject
    }

    /// The next line that contains these words.
    fn line(&self, words: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|error| panic!("no line with {words:?}: {error}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Ends the program; returns the status and the remaining lines.
    fn end(mut self) -> (ExitStatus, Vec<String>) {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        (status, self.lines.iter().collect())
    }

    fn succeeds(self) {
        let (status, lines) = self.end();
        assert!(status.success(), "{status}: {lines:?}");
    }
}

fn delete(namespace: &TestNamespace, what: &[&str]) {
    let arguments = [&["--namespace", namespace.name(), "delete", "--wait=false"], what].concat();
    namespace.cluster.kubectl(&arguments).unwrap();
}

/// A session whose API server is a gate that can hold back requests with these words.
fn through_gate(namespace: &TestNamespace, words: &'static str, flags: &[&str]) -> (Gate, KinjectRun) {
    let gate = Gate::before(&namespace.cluster, words);
    gate.open();
    let kubeconfig = gate.kubeconfig();
    let flags = [&["--kubeconfig", kubeconfig.to_str().unwrap()], flags].concat();
    let kinject = KinjectRun::start(namespace, &flags);
    gate.close();
    (gate, kinject)
}

#[test]
fn long_outage_is_reported_with_its_cause_and_the_state_of_the_agent() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    // the creation of the next Job is held back until the outage is reported
    let (gate, kinject) = through_gate(&namespace, "/jobs? HTTP/1.1", &[]);
    let old = namespace.pod();
    delete(&namespace, &["pod", &old]);
    let line = kinject.line("lost the connection to the agent: ");
    assert!(
        line.contains(&format!("the agent's pod {old} is being deleted"))
            || line.contains(&format!("the agent's pod {old} was deleted")),
        "{line}"
    );
    gate.open();
    let line = kinject.line("connected again after");
    let new = namespace.made("pods").into_iter().find(|pod| {
        let name = pod["metadata"]["name"].as_str().unwrap();
        name != old && line.contains(&format!("to a new agent (pod {name})"))
    });
    assert!(new.is_some(), "{line}");
    assert!(line.contains("because the old one's pod "), "{line}");
    kinject.succeeds();
    namespace.becomes_clean();
}

#[test]
fn silent_api_server_is_reported_as_the_cause_of_an_outage() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    // the agent ends, and the API server does not answer queries for its pod
    let (gate, kinject) = through_gate(&namespace, "GET /api/v1/namespaces/", &[]);
    delete(&namespace, &["pod", &namespace.pod()]);
    let line = kinject.line("lost the connection to the agent: ");
    assert!(line.ends_with(": the API server does not answer"), "{line}");
    gate.open();
    kinject.line("connected again after");
    kinject.succeeds();
    namespace.becomes_clean();
}

/// On a busy machine the outage may take longer and is reported then.
#[test]
fn short_outage_with_the_same_agent_is_not_reported() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let kinject = KinjectRun::start(&namespace, &["-v"]);
    let relay = relay_of(kinject.child.id()).expect("its relay runs");
    for port in ports_to_api_server(relay) {
        run(Command::new("ss").args(["-K", "dst", "10.201.0.2", "sport", "=", &port])).succeeded();
    }
    let again = kinject.line("connected again after");
    let to = format!("to the same agent (pod {})", namespace.pod());
    assert!(again.ends_with(&to), "{again}");
    let seconds = again.split_whitespace().find_map(|word| word.parse::<f32>().ok());
    let is_soon = seconds.unwrap() < 2.0;
    assert_eq!(again.starts_with("info: "), is_soon, "{again}");
    let (status, rest) = kinject.end();
    assert!(status.success());
    assert!(
        !rest.iter().any(|line| line.starts_with("kinject: warning: lost")),
        "{rest:?}"
    );
    namespace.becomes_clean();
}

/// The session does not replace an agent whose transport is not available yet.
#[test]
fn new_agent_that_is_not_reachable_yet_is_kept() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let (gate, kinject) = through_gate(&namespace, "/proxy/ HTTP/1.1", &["-v", "--transport", "proxy"]);
    delete(&namespace, &["pod", &namespace.pod()]);
    let unreached = "cannot reconnect: the agent does not answer through the pod proxy";
    kinject.line(unreached);
    let kept = namespace.made("jobs");
    assert_eq!(kept.len(), 1, "{kept:?}");
    kinject.line(unreached);
    gate.open();
    let again = kinject.line("connected again after");
    assert!(again.contains("to a new agent"), "{again}");
    let jobs = namespace.made("jobs");
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["metadata"]["uid"], kept[0]["metadata"]["uid"]);
    kinject.succeeds();
    namespace.becomes_clean();
}

/// A program that connects after a line on its input, prints the result, and exits with status 7.
fn connects_on_input(target: [&str; 2]) -> Program {
    let connects = c("connects");
    shell("echo up >&2; read word; \"$@\"; exit 7")
        .arg("sh")
        .arg(&connects.path)
        .arg("outcome")
        .args(target)
}

/// Waits for the message that this Job was deleted.
fn reports_the_deleted_job(kinject: &KinjectRun, namespace: &TestNamespace, job: &Value) {
    let line = kinject.line("the session is over");
    let job = job["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        line,
        format!(
            "kinject: error: the session is over: somebody deleted the agent's Job {job} in namespace {}",
            namespace.name()
        )
    );
    kinject.line("hint: ");
}

/// Asserts what a program sees after its session was ended, and kinject's exit status.
fn continues_without_the_cluster(mut kinject: KinjectRun) {
    write_line(kinject.child.stdin.as_mut().unwrap(), "go on");
    let mut stdout = kinject.child.stdout.take().unwrap();
    let (status, rest) = kinject.end();
    let mut printed = String::new();
    stdout.read_to_string(&mut printed).unwrap();
    assert_eq!(
        (printed.as_str(), status.code()),
        ("connect: ENETUNREACH\nwithout blocking: ENETUNREACH\n", Some(7)),
        "{rest:?}"
    );
    assert_eq!(rest, Vec::<String>::new());
}

#[test]
fn deleted_job_ends_its_session_and_the_program_continues() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    for transport in ["proxy", "port-forward"] {
        // also with --quiet, which prints only the error that ends the session
        let flags = ["--quiet", "--transport", transport];
        let kinject = KinjectRun::of(namespace.kinject(&flags, &connects_on_input(["10.96.10.3", "7005"])));
        let job = namespace.made("jobs").remove(0);
        // the command of docs/administrators.md
        delete(
            &namespace,
            &["jobs", "--selector", "app.kubernetes.io/managed-by=kinject"],
        );
        reports_the_deleted_job(&kinject, &namespace, &job);
        continues_without_the_cluster(kinject);
        namespace.is_clean();
    }
}

/// The Job stays until its pod is gone.
#[test]
fn foreground_deletion_of_the_job_ends_its_session() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let kinject = KinjectRun::of(namespace.kinject(&["--quiet"], &connects_on_input(["10.96.10.3", "7005"])));
    let job = namespace.made("jobs").remove(0);
    let name = job["metadata"]["name"].as_str().unwrap();
    delete(&namespace, &["job", name, "--cascade=foreground"]);
    reports_the_deleted_job(&kinject, &namespace, &job);
    continues_without_the_cluster(kinject);
    namespace.becomes_clean();
}

/// Stops the relay (SIGSTOP) while something happens, as when the machine sleeps.
fn while_relay_is_stopped(kinject: &KinjectRun, something: impl FnOnce()) {
    let relay = relay_of(kinject.child.id()).expect("its relay runs");
    let relay = Pid::from_raw(relay.cast_signed()).unwrap();
    kill_process(relay, Signal::STOP).unwrap();
    something();
    kill_process(relay, Signal::CONT).unwrap();
}

/// The TTL controller might have removed the Job by then.
#[test]
fn job_deleted_while_disconnected_ends_its_session() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let kinject = KinjectRun::of(namespace.kinject(&["--quiet"], &connects_on_input(["10.96.10.3", "7005"])));
    let job = namespace.made("jobs").remove(0);
    while_relay_is_stopped(&kinject, || {
        let kept = job["spec"]["ttlSecondsAfterFinished"].as_u64().unwrap();
        let kept = Duration::from_secs(kept + 2);
        delete(&namespace, &["job", job["metadata"]["name"].as_str().unwrap()]);
        let deleted = Instant::now();
        eventually(
            "no Job that is done would be left",
            Duration::from_secs(60),
            || namespace.made("jobs,pods").is_empty() && deleted.elapsed() > kept,
        );
    });
    reports_the_deleted_job(&kinject, &namespace, &job);
    continues_without_the_cluster(kinject);
    namespace.is_clean();
}

/// The user has no right to delete Jobs.
#[test]
fn without_delete_right_deleted_pod_is_replaced_and_deleted_job_ends_session() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let user = namespace.user_who_removes_nothing();
    let user = user.path();
    let kinject = KinjectRun::start(&namespace, &["-v", "--kubeconfig", user.to_str().unwrap()]);
    let old = namespace.made("jobs").remove(0);
    delete(&namespace, &["pod", &namespace.pod()]);
    let again = kinject.line("connected again after");
    assert!(again.contains("to a new agent"), "{again}");
    let is_old = |job: &Value| job["metadata"]["uid"] == old["metadata"]["uid"];
    eventually("the old Job is gone by itself", Duration::from_secs(60), || {
        !namespace.made("jobs").iter().any(is_old)
    });
    let new = namespace.made("jobs").remove(0);
    let (status, rest) = kinject.end();
    assert!(status.success());
    let name = new["metadata"]["name"].as_str().unwrap();
    let stays = format!("kinject: warning: the agent's Job {name} could not be removed: ");
    assert!(rest.iter().any(|line| line.starts_with(&stays)), "{rest:?}");
    delete(&namespace, &["job", name]);
    namespace.becomes_clean();

    let kinject = KinjectRun::start(&namespace, &["--kubeconfig", user.to_str().unwrap()]);
    let job = namespace.made("jobs").remove(0);
    delete(&namespace, &["job", job["metadata"]["name"].as_str().unwrap()]);
    reports_the_deleted_job(&kinject, &namespace, &job);
    let (_, rest) = kinject.end();
    let complaint = rest.iter().find(|line| line.contains("could not be removed"));
    assert_eq!(complaint, None, "it is gone");
    namespace.becomes_clean();
}

/// No user deleted that Job: the TTL controller removes finished Jobs, and the session was disconnected.
#[test]
fn agent_whose_finished_job_was_removed_by_the_cluster_is_replaced() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let kinject = KinjectRun::start(&namespace, &["-v"]);
    while_relay_is_stopped(&kinject, || {
        delete(&namespace, &["pod", &namespace.pod()]);
        eventually("the cluster has removed the Job", Duration::from_secs(60), || {
            namespace.made("jobs").is_empty()
        });
    });
    let again = kinject.line("connected again after");
    assert!(again.contains("because the old one's pod was deleted"), "{again}");
    kinject.succeeds();
    namespace.becomes_clean();
}

#[test]
fn deleted_namespace_ends_its_sessions() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let kinject = KinjectRun::of(namespace.kinject(&[], &connects_on_input(["10.96.10.3", "7005"])));
    namespace
        .cluster
        .kubectl(&["delete", "namespace", namespace.name(), "--wait=false"])
        .unwrap();
    let line = kinject.line(&format!("namespace {} is being deleted", namespace.name()));
    assert!(line.starts_with("kinject: "), "{line}");
    kinject.line("hint: ");
    continues_without_the_cluster(kinject);
    eventually("the namespace is gone", Duration::from_secs(60), || {
        let get = ["get", "namespace", namespace.name(), "--ignore-not-found"];
        namespace.cluster.kubectl(&get).unwrap().is_empty()
    });
    namespace.forget();
}
