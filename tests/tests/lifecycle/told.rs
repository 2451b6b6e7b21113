//! What the user is told of a session that loses its agent, and when the session is over by somebody else's hand.

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
use crate::namespace::Home;

const SOON: Duration = Duration::from_secs(20);

/// A `kinject run` that tells its user of everything, and lives until its input ends.
struct Told {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Told {
    fn start(home: &Home, flags: &[&str]) -> Self {
        Self::of(home.kinject(flags, &shell("echo up >&2; cat")))
    }

    /// The same for a command whose program says `up`.
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
        let told = Self { child, lines };
        // the word is a part of others
        while told.line("up") != "up" {}
        told
    }

    /// The next line that contains these words.
    fn line(&self, words: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|error| panic!("no line with {words:?}: {error}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Everything else that was said, once its program has ended.
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

fn delete(home: &Home, what: &[&str]) {
    let arguments = [&["--namespace", home.name(), "delete", "--wait=false"], what].concat();
    home.cluster.kubectl(&arguments).unwrap();
}

/// A session whose way to the API server leads through a gate that can hold back requests with these words.
fn through_gate(home: &Home, words: &'static str, flags: &[&str]) -> (Gate, Told) {
    let gate = Gate::before(&home.cluster, words);
    gate.open();
    let kubeconfig = gate.kubeconfig();
    let flags = [&["--kubeconfig", kubeconfig.to_str().unwrap()], flags].concat();
    let told = Told::start(home, &flags);
    gate.close();
    (gate, told)
}

#[test]
fn long_outage_is_reported_with_its_cause_and_the_state_of_the_agent() {
    let Some(home) = Home::new() else { return };
    // the next agent's Job waits until the user knows
    let (gate, told) = through_gate(&home, "/jobs? HTTP/1.1", &[]);
    let old = home.pod();
    delete(&home, &["pod", &old]);
    let line = told.line("lost the connection to the agent: ");
    assert!(
        line.contains(&format!("the agent's pod {old} is being deleted"))
            || line.contains(&format!("the agent's pod {old} was deleted")),
        "{line}"
    );
    gate.open();
    let line = told.line("connected again after");
    let new = home.made("pods").into_iter().find(|pod| {
        let name = pod["metadata"]["name"].as_str().unwrap();
        name != old && line.contains(&format!("to a new agent (pod {name})"))
    });
    assert!(new.is_some(), "{line}");
    assert!(line.contains("because the old one's pod "), "{line}");
    told.succeeds();
    home.becomes_clean();
}

#[test]
fn silent_api_server_is_reported_as_the_cause_of_an_outage() {
    let Some(home) = Home::new() else { return };
    // the agent ends, and nobody says whether its pod is there
    let (gate, told) = through_gate(&home, "GET /api/v1/namespaces/", &[]);
    delete(&home, &["pod", &home.pod()]);
    let line = told.line("lost the connection to the agent: ");
    assert!(line.ends_with(": the API server does not answer"), "{line}");
    gate.open();
    told.line("connected again after");
    told.succeeds();
    home.becomes_clean();
}

/// Where the machine is so busy that it takes longer, the user is told.
#[test]
fn short_outage_with_the_same_agent_is_not_reported() {
    let Some(home) = Home::new() else { return };
    let told = Told::start(&home, &["-v"]);
    let relay = relay_of(told.child.id()).expect("its relay runs");
    for port in ports_to_api_server(relay) {
        run(Command::new("ss").args(["-K", "dst", "10.201.0.2", "sport", "=", &port])).succeeded();
    }
    let again = told.line("connected again after");
    let to = format!("to the same agent (pod {})", home.pod());
    assert!(again.ends_with(&to), "{again}");
    let seconds = again.split_whitespace().find_map(|word| word.parse::<f32>().ok());
    let is_soon = seconds.unwrap() < 2.0;
    assert_eq!(again.starts_with("info: "), is_soon, "{again}");
    let (status, rest) = told.end();
    assert!(status.success());
    assert!(
        !rest.iter().any(|line| line.starts_with("kinject: warning: lost")),
        "{rest:?}"
    );
    home.becomes_clean();
}

/// A way that is not there yet costs no agent.
#[test]
fn new_agent_that_is_not_reachable_yet_is_kept() {
    let Some(home) = Home::new() else { return };
    let (gate, told) = through_gate(&home, "/proxy/ HTTP/1.1", &["-v", "--transport", "proxy"]);
    delete(&home, &["pod", &home.pod()]);
    let unreached = "cannot reconnect: the agent does not answer through the pod proxy";
    told.line(unreached);
    let kept = home.made("jobs");
    assert_eq!(kept.len(), 1, "{kept:?}");
    told.line(unreached);
    gate.open();
    let again = told.line("connected again after");
    assert!(again.contains("to a new agent"), "{again}");
    let jobs = home.made("jobs");
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["metadata"]["uid"], kept[0]["metadata"]["uid"]);
    told.succeeds();
    home.becomes_clean();
}

/// A program that connects when it is told to, prints what comes of it, and ends with status 7.
fn connects_at_a_word(target: [&str; 2]) -> Program {
    let connects = c("connects");
    shell("echo up >&2; read word; \"$@\"; exit 7")
        .arg("sh")
        .arg(&connects.path)
        .arg("outcome")
        .args(target)
}

/// Waits for the word that somebody has deleted this Job.
fn is_told_of_a_deleted_job(told: &Told, home: &Home, job: &Value) {
    let line = told.line("the session is over");
    let job = job["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        line,
        format!(
            "kinject: error: the session is over: somebody deleted the agent's Job {job} in namespace {}",
            home.name()
        )
    );
    told.line("hint: ");
}

/// What a program sees of a session that somebody has ended, and with what status kinject ends then.
fn goes_on_without_the_cluster(mut told: Told) {
    write_line(told.child.stdin.as_mut().unwrap(), "go on");
    let mut stdout = told.child.stdout.take().unwrap();
    let (status, rest) = told.end();
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
    let Some(home) = Home::new() else { return };
    for transport in ["proxy", "port-forward"] {
        // also with nothing said but what ends the session
        let flags = ["--quiet", "--transport", transport];
        let told = Told::of(home.kinject(&flags, &connects_at_a_word(["10.96.10.3", "7005"])));
        let job = home.made("jobs").remove(0);
        // as docs/administrators.md has it
        delete(
            &home,
            &["jobs", "--selector", "app.kubernetes.io/managed-by=kinject"],
        );
        is_told_of_a_deleted_job(&told, &home, &job);
        goes_on_without_the_cluster(told);
        home.is_clean();
    }
}

/// The Job stays until its pod is gone.
#[test]
fn foreground_deletion_of_the_job_ends_its_session() {
    let Some(home) = Home::new() else { return };
    let told = Told::of(home.kinject(&["--quiet"], &connects_at_a_word(["10.96.10.3", "7005"])));
    let job = home.made("jobs").remove(0);
    let name = job["metadata"]["name"].as_str().unwrap();
    delete(&home, &["job", name, "--cascade=foreground"]);
    is_told_of_a_deleted_job(&told, &home, &job);
    goes_on_without_the_cluster(told);
    home.becomes_clean();
}

/// The relay is not there while something happens, as where the machine sleeps.
fn while_away(told: &Told, something: impl FnOnce()) {
    let relay = relay_of(told.child.id()).expect("its relay runs");
    let relay = Pid::from_raw(relay.cast_signed()).unwrap();
    kill_process(relay, Signal::STOP).unwrap();
    something();
    kill_process(relay, Signal::CONT).unwrap();
}

/// The cluster might have removed it by then.
#[test]
fn job_deleted_while_disconnected_ends_its_session() {
    let Some(home) = Home::new() else { return };
    let told = Told::of(home.kinject(&["--quiet"], &connects_at_a_word(["10.96.10.3", "7005"])));
    let job = home.made("jobs").remove(0);
    while_away(&told, || {
        let kept = job["spec"]["ttlSecondsAfterFinished"].as_u64().unwrap();
        let kept = Duration::from_secs(kept + 2);
        delete(&home, &["job", job["metadata"]["name"].as_str().unwrap()]);
        let deleted = Instant::now();
        eventually(
            "no Job that is done would be left",
            Duration::from_secs(60),
            || home.made("jobs,pods").is_empty() && deleted.elapsed() > kept,
        );
    });
    is_told_of_a_deleted_job(&told, &home, &job);
    goes_on_without_the_cluster(told);
    home.is_clean();
}

/// Its user may not even ask for its removal.
#[test]
fn without_delete_right_deleted_pod_is_replaced_and_deleted_job_ends_session() {
    let Some(home) = Home::new() else { return };
    let user = home.user_who_removes_nothing();
    let user = user.path();
    let told = Told::start(&home, &["-v", "--kubeconfig", user.to_str().unwrap()]);
    let old = home.made("jobs").remove(0);
    delete(&home, &["pod", &home.pod()]);
    let again = told.line("connected again after");
    assert!(again.contains("to a new agent"), "{again}");
    let is_old = |job: &Value| job["metadata"]["uid"] == old["metadata"]["uid"];
    eventually("the old Job is gone by itself", Duration::from_secs(60), || {
        !home.made("jobs").iter().any(is_old)
    });
    let new = home.made("jobs").remove(0);
    let (status, rest) = told.end();
    assert!(status.success());
    let name = new["metadata"]["name"].as_str().unwrap();
    let stays = format!("kinject: warning: the agent's Job {name} could not be removed: ");
    assert!(rest.iter().any(|line| line.starts_with(&stays)), "{rest:?}");
    delete(&home, &["job", name]);
    home.becomes_clean();

    let told = Told::start(&home, &["--kubeconfig", user.to_str().unwrap()]);
    let job = home.made("jobs").remove(0);
    delete(&home, &["job", job["metadata"]["name"].as_str().unwrap()]);
    is_told_of_a_deleted_job(&told, &home, &job);
    let (_, rest) = told.end();
    let complaint = rest.iter().find(|line| line.contains("could not be removed"));
    assert_eq!(complaint, None, "it is gone");
    home.becomes_clean();
}

/// Nobody deleted that Job: the cluster removes those that are done, and the session was away.
#[test]
fn agent_whose_finished_job_was_removed_by_the_cluster_is_replaced() {
    let Some(home) = Home::new() else { return };
    let told = Told::start(&home, &["-v"]);
    while_away(&told, || {
        delete(&home, &["pod", &home.pod()]);
        eventually("the cluster has removed the Job", Duration::from_secs(60), || {
            home.made("jobs").is_empty()
        });
    });
    let again = told.line("connected again after");
    assert!(again.contains("because the old one's pod was deleted"), "{again}");
    told.succeeds();
    home.becomes_clean();
}

#[test]
fn deleted_namespace_ends_its_sessions() {
    let Some(home) = Home::new() else { return };
    let told = Told::of(home.kinject(&[], &connects_at_a_word(["10.96.10.3", "7005"])));
    home.cluster
        .kubectl(&["delete", "namespace", home.name(), "--wait=false"])
        .unwrap();
    let line = told.line(&format!("namespace {} is being deleted", home.name()));
    assert!(line.starts_with("kinject: "), "{line}");
    told.line("hint: ");
    goes_on_without_the_cluster(told);
    eventually("the namespace is gone", Duration::from_secs(60), || {
        let get = ["get", "namespace", home.name(), "--ignore-not-found"];
        home.cluster.kubectl(&get).unwrap().is_empty()
    });
    home.forget();
}
