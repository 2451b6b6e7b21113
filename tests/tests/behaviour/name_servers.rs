//! Name servers with false answers: neither the cluster's nor this machine's can send a session's connections to the
//! other network.

use std::process::Command;

use kinject_tests::programs::{Program, interpreter, python};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::kinject_run;
use kinject_tests::testbed::Testbed;
use kinject_tests::{binaries, skip, testbed};
use serde_json::{Value, json};

/// Helpers for the scripts: addresses of names as libc resolves them, and what port 7 of an address answers.
const HELPERS: &str = "import ctypes, socket\n\
    def name(n):\n  try: return sorted({a[4][0] for a in socket.getaddrinfo(n, 1)})\n  except OSError as e: return e.errno\n\
    def ask(*target):\n  try: return socket.create_connection((target), 5).recv(9).decode()\n  except OSError as e: return e.errno\n\
    libc = ctypes.CDLL(None)\n\
    def query(n, kind=1):\n  \
    answer = ctypes.create_string_buffer(4096)\n  length = libc.res_query(n.encode(), 1, kind, answer, 4096)\n  \
    return answer.raw[6:8][1] if length > 0 else None\n";

/// The result of a scenario of `two_resolvers.py`.
struct ScenarioResult {
    outcome: Outcome,
    /// What the script printed.
    printed: String,
    queries: Value,
}

impl ScenarioResult {
    /// The queries that came to `cluster` or `machine`, each once, in the order of their first arrival, without the
    /// probes by which a session checks whether a slow server answers at all.
    fn queries(&self, server: &str) -> Vec<&str> {
        let mut names = Vec::new();
        for name in self.queries[server].as_array().unwrap() {
            let name = name.as_str().unwrap();
            if name != PROBE && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// Runs a scenario in namespaces of its own; `None`, and a note, where those cannot be made.
fn run_scenario(mut scenario: Value, script: &str) -> Option<ScenarioResult> {
    if !rustix::process::geteuid().is_root() {
        skip::not_run(
            "tests with name servers that give false answers",
            "they need root",
        );
        return None;
    }
    scenario["script"] = json!(format!("{HELPERS}{script}"));
    let program = python("two_resolvers.py");
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount"])
        .arg(&program.path)
        .args(&program.arguments)
        .arg(binaries::kinject())
        .arg(binaries::path("kinject-agent"))
        .arg(scenario.to_string());
    let outcome = run(&mut command);
    outcome.succeeded();
    let (printed, queries) = outcome.stdout.trim_end().rsplit_once('\n').unwrap();
    Some(ScenarioResult {
        printed: printed.to_owned(),
        queries: serde_json::from_str(queries).unwrap(),
        outcome,
    })
}

const WEB: &str = "web.default.svc.cluster.local";

/// Services of the cluster; this machine has the same addresses, so that the answer shows which network was used.
fn services() -> Value {
    json!({ "web.default.svc.cluster.local": ["10.96.0.7"], "7.0.96.10.in-addr.arpa": [WEB] })
}

#[test]
fn local_dns_answer_does_not_make_a_service_address_local() {
    for script in [
        // before the cluster has been asked for the Service, and after
        "print(name('lure.example'), query('lure.example'), name('web'))\n",
        "print(name('web'), name('lure.example'), query('lure.example'))\n",
        "print(query('lure.example'), name('web'), name('lure.example'))\n",
    ] {
        let scenario = json!({
            "cluster": services(), "machine": {"lure.example": ["10.96.0.7"]}, "here": ["10.96.0.7"], "command": "trace",
        });
        // the cluster is this machine here; a connection through it comes from the agent
        let connect = "socket.create_connection(('10.96.0.7', 7), 5).close()\n";
        let Some(result) = run_scenario(scenario, &format!("{script}{connect}")) else {
            return;
        };
        assert_eq!(
            result.printed.replace("None", "-2").matches("-2").count(),
            2,
            "{}",
            result.outcome
        );
        assert!(result.printed.contains("['10.96.0.7']"), "{}", result.outcome);
        let trace = &result.outcome.stderr;
        let connect = trace.lines().find(|line| line.starts_with("connect ")).unwrap();
        let words: Vec<_> = connect.split_whitespace().collect();
        assert_eq!(
            words[1..5],
            ["10.96.0.7:7", "default", "cluster", "connected"],
            "{trace}"
        );
        result
            .outcome
            .complains("(10.96.0.7, which was found locally, is the cluster's)");
        result.outcome.complains(
            "kinject: warning: lure.example does not exist in the cluster, and here it has 10.96.0.7, an address of the cluster's\n\n\
             hint: add --local lure.example to reach it on this machine's network\n",
        );
    }
}

#[test]
fn local_rule_makes_a_service_address_local() {
    let scenario = json!({
        "cluster": services(), "machine": {"lure.example": ["10.96.0.7"]}, "here": ["10.96.0.7"], "command": "trace",
        "flags": ["--local", "lure.example"],
    });
    let Some(result) = run_scenario(scenario, "print(name('lure.example'), ask('10.96.0.7', 7))") else {
        return;
    };
    assert_eq!(result.printed, "['10.96.0.7'] here", "{}", result.outcome);
    result.outcome.complains("left to this machine");
}

/// With names of this machine's hosts file, since the cluster's test machine has no name server.
#[test]
fn local_dns_answer_does_not_make_a_cluster_network_address_local() {
    let Some(cluster) = testbed::cluster() else { return };
    let pod = cluster.pod_of("default", "app=web").unwrap();
    let pod = cluster.kubectl_json(&["get", "pod", &pod]).unwrap();
    let network = pod["status"]["podIP"]
        .as_str()
        .unwrap()
        .rsplit_once('.')
        .unwrap()
        .0;
    // unassigned addresses in the networks of Services and of pods
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    let text = format!(
        "127.0.0.1 localhost\n10.96.250.250 service.example\n{network}.250 pod.example\n10.20.0.1 wiki.example\n"
    );
    std::fs::write(&hosts, text).unwrap();
    let names = "print(name('service.example'), name('pod.example'), name('wiki.example'))";
    let program = Program::new(interpreter()).args(["-SEc", &format!("{HELPERS}{names}")]);
    let testbed = Testbed::Cluster(cluster);
    let outcome = |flags: &[&str]| {
        let kinject = kinject_run(&testbed, flags, &program);
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "sh",
                "-c",
                "mount --bind \"$0\" /etc/hosts && exec \"$@\"",
            ])
            .arg(&hosts)
            .arg(kinject.get_program())
            .args(kinject.get_args());
        run(&mut command)
    };
    outcome(&[])
        .succeeded()
        .prints("-2 -2 ['10.20.0.1']\n")
        .complains("hint: add --local service.example ")
        .complains("hint: add --local pod.example ");
    let expected = format!("['10.96.250.250'] ['{network}.250'] ['10.20.0.1']\n");
    outcome(&["--local", "*.example"]).succeeded().prints(&expected);
}

/// Helpers for the scripts about silent name servers: the result of a lookup, and whether it took long.
const TIMED: &str = "import time\n\
    def timed(ask, *what):\n  since = time.monotonic()\n  said = ask(*what)\n  \
    return said if time.monotonic() - since < 2.5 else 'LATE'\n\
    def host(a):\n  try: return socket.gethostbyaddr(a)[0]\n  except OSError as e: return e.errno\n";

/// The query by which the relay checks whether a slow name server answers at all.
const PROBE: &str = "1.0.0.127.in-addr.arpa";

/// A name server that never answers, as when a VPN is down.
const MUTE: &str = "127.0.0.99";

#[test]
fn silent_local_name_server_delays_one_lookup_by_a_second_and_is_then_skipped() {
    let scenario = json!({
        "mute": [MUTE], "all_mute": true, "cluster": {WEB: ["10.96.0.7"]}, "hosts": "10.20.0.1 nas.example\n10.20.0.9 old.example\n",
    });
    let script = format!(
        "{TIMED}unknown = [f'name{{n}}.example' for n in range(20)]\n\
        print({{timed(name, n) for n in unknown}}, {{timed(query, n, k) for n in unknown for k in (1, 16, 33)}},\n  \
        timed(host, '10.20.0.2'), timed(host, '10.20.0.9'), timed(name, 'web'), timed(name, 'nas.example'),\n  \
        timed(name, socket.gethostname()) != 'LATE')"
    );
    let Some(result) = run_scenario(scenario, &script) else {
        return;
    };
    assert_eq!(
        result.printed, "{-2} {None} 1 old.example ['10.96.0.7'] ['10.20.0.1'] True",
        "{}",
        result.outcome
    );
    let queries = result.queries(MUTE);
    assert!(
        queries.contains(&"name0.example") && queries.len() < 10,
        "{queries:?}"
    );
    let warning = "kinject: warning: this machine's name server 127.0.0.99 does not answer: until it does, names that the cluster does \
        not know are looked up without it\n\nhint: check its VPN: ";
    assert_eq!(
        result.outcome.stderr.matches(warning).count(),
        1,
        "{}",
        result.outcome
    );
    assert_eq!(
        result.outcome.stderr.matches("does not answer").count(),
        1,
        "{}",
        result.outcome
    );
}

#[test]
fn silent_name_server_is_skipped_where_another_answers() {
    let scenario =
        json!({"mute": [MUTE], "machine": {"wiki.example": ["10.20.0.1"], "git.example": ["10.20.0.2"]}});
    let script = format!(
        "{TIMED}print(timed(name, 'wiki.example'), timed(query, 'git.example'), timed(name, 'missing.example'))\n\
        print({{timed(name, f'name{{n}}.example') for n in range(20)}}, timed(name, 'git.example'), timed(name, 'wiki.example'))"
    );
    let Some(result) = run_scenario(scenario, &script) else {
        return;
    };
    let expected = "['10.20.0.1'] 1 -2\n{-2} ['10.20.0.2'] ['10.20.0.1']";
    assert_eq!(result.printed, expected, "{}", result.outcome);
    assert!(result.queries(MUTE).len() < 10, "{}", result.outcome);
}

#[test]
fn recovered_name_server_is_asked_again() {
    let scenario = json!({
        "mute": [MUTE], "all_mute": true, "patience": 12, "machine": {"wiki.example": ["10.20.0.1"]},
    });
    let script = format!(
        "{TIMED}first = timed(name, 'wiki.example')\n\
        while name('wiki.example') == -2: time.sleep(0.1)\n\
        print(first, name('wiki.example'), query('wiki.example'))"
    );
    let Some(result) = run_scenario(scenario, &script) else {
        return;
    };
    assert_eq!(result.printed, "-2 ['10.20.0.1'] 1", "{}", result.outcome);
}

#[test]
fn lookup_under_a_local_rule_asks_a_silent_name_server() {
    // a server that a rule selects gets libc's full timeout
    let scenario = json!({
        "mute": [MUTE], "machine": {"wiki.example": ["10.20.0.1"]}, "flags": ["--local", "wiki.example"],
    });
    let script = "print([query('wiki.example') for _ in range(3)])";
    let Some(result) = run_scenario(scenario, script) else {
        return;
    };
    assert_eq!(result.printed, "[1, 1, 1]", "{}", result.outcome);
    assert!(
        result.queries(MUTE).contains(&"wiki.example"),
        "{}",
        result.outcome
    );
}

#[test]
fn reverse_lookup_under_a_local_rule_asks_local_name_servers() {
    let questions: Vec<_> = (1..=6)
        .map(|last| format!("{last}.0.20.10.in-addr.arpa"))
        .collect();
    let zone = questions
        .iter()
        .map(|question| (question.clone(), json!(["nas.example"])));
    let scenario = json!({
        "mute": [MUTE], "machine": Value::Object(zone.collect()), "flags": ["--local", "10.20.0.0/16"], "command": "trace",
    });
    // the first lookups take until the relay finds that a name server is silent
    let script = "print([query(f'{n}.0.20.10.in-addr.arpa', 12) for n in range(1, 7)])";
    let Some(result) = run_scenario(scenario, script) else {
        return;
    };
    assert_eq!(result.printed, "[1, 1, 1, 1, 1, 1]", "{}", result.outcome);
    // with a rule the relay asks the silent server, too
    let queries = result.queries(MUTE);
    assert!(
        questions
            .iter()
            .all(|question| queries.contains(&question.as_str())),
        "{}",
        result.outcome
    );
    let lines = result.outcome.stderr.lines();
    let traced = lines.filter(|line| line.starts_with("lookup ")).map(|line| {
        let words = line.split_whitespace().collect::<Vec<_>>();
        words[..words.len() - 2].join(" ")
    });
    let expected = questions
        .iter()
        .map(|question| format!("lookup {question} --local 10.20.0.0/16 local NOERROR"));
    assert_eq!(
        traced.collect::<Vec<_>>(),
        expected.collect::<Vec<_>>(),
        "{}",
        result.outcome
    );
}

#[test]
fn possible_service_names_are_never_sent_to_local_name_servers() {
    let false_answers: Value = [
        "redis",
        "redis.office.example",
        "orders.default",
        "orders.held",
        "orders.held.office.example",
        "db-0.db",
        "db-0.db.held",
        "vm.nodes.example",
        "gone.default.svc",
        "gone.other.svc.cluster.local",
        "wiki.office.example",
        "wiki.office.example.office.example",
    ]
    .iter()
    .map(|name| ((*name).to_owned(), json!(["10.20.0.1"])))
    .collect::<serde_json::Map<_, _>>()
    .into();
    // a namespace, and Services of it and of the session's own
    let exist = json!({
        "held.svc.cluster.local": [],
        "db.held.svc.cluster.local": ["10.96.0.8"],
        "db.default.svc.cluster.local": ["10.96.0.9"],
    });
    let scenario = json!({
        "cluster": exist, "machine": false_answers, "search": "office.example",
        "domains": "default.svc.cluster.local svc.cluster.local cluster.local nodes.example",
    });
    let script = "names = ['redis', 'orders.default', 'orders.held', 'db-0.db', 'db-0.db.held', 'vm.nodes.example', \
        'gone.default.svc', 'gone.other.svc.cluster.local']\n\
        print({name(n) for n in names}, {query(n) for n in names})\n\
        print(name('wiki.office.example'), name('missing.example'), name('nas.missing'))";
    let Some(result) = run_scenario(scenario, script) else {
        return;
    };
    let expected = "{-2} {None}\n['10.20.0.1'] -2 -2";
    assert_eq!(result.printed, expected, "{}", result.outcome);
    // all other names are asked for unchanged, without this machine's search list
    assert_eq!(
        result.queries("machine"),
        ["wiki.office.example", "missing.example", "nas.missing"],
        "{}",
        result.outcome
    );
    result
        .outcome
        .complains("the cluster has no name redis, and short names are not looked up on this machine\n\nhint: add --local redis to look it up here\n")
        .complains("hint: add --local orders.held to look it up here\n")
        .complains("hint: add --local vm.nodes.example to look it up here\n");
    assert!(!result.outcome.stderr.contains("svc"), "{}", result.outcome);
}

/// The cluster's name servers forward queries about other addresses to servers that do not answer.
#[test]
fn address_without_an_upstream_ptr_answer_is_not_the_clusters() {
    let scenario = json!({
        "cluster": {"kubernetes.default.svc.cluster.local": ["10.96.0.1"]},
        "cluster_fails": ["1.0.20.10.in-addr.arpa", "2.0.20.10.in-addr.arpa"],
        "machine": {"wiki.example": ["10.20.0.1"]}, "here": ["10.20.0.1"],
    });
    let Some(result) = run_scenario(scenario, "print(name('wiki.example'), ask('wiki.example', 7))") else {
        return;
    };
    assert_eq!(result.printed, "['10.20.0.1'] here", "{}", result.outcome);
    // no name server answers, not even for the cluster's own names
    let scenario = json!({
        "cluster_fails": ["1.0.20.10.in-addr.arpa", "kubernetes.default.svc.cluster.local"],
        "machine": {"wiki.example": ["10.20.0.1"]},
    });
    let Some(result) = run_scenario(scenario, "print(name('wiki.example'))") else {
        return;
    };
    assert_eq!(result.printed, "-2", "{}", result.outcome);
}

#[test]
fn short_name_under_a_local_rule_uses_the_local_search_list() {
    let scenario = json!({
        "machine": {"nas.office.example": ["10.20.0.1"]}, "search": "office.example", "here": ["10.20.0.1"],
        "flags": ["--local", "nas"],
    });
    let Some(result) = run_scenario(scenario, "print(name('nas'), ask('nas', 7))") else {
        return;
    };
    assert_eq!(result.printed, "['10.20.0.1'] here", "{}", result.outcome);
    assert_eq!(result.outcome.stderr, "");
}

#[test]
fn names_in_the_hosts_file_stay_local() {
    let scenario = json!({
        "hosts": "10.20.0.1 nas printer.default.svc.cluster.local\n10.96.0.7 lure\nfd00::1 nas6\n",
        "cluster": services(), "here": ["10.20.0.1"],
    });
    let script = "print(name('nas'), name('nas6'), name('printer.default.svc.cluster.local'), name('lure'), ask('nas', 7))\n\
        print(type(name(socket.gethostname())))";
    let Some(result) = run_scenario(scenario, script) else {
        return;
    };
    let own = "['10.20.0.1'] ['fd00::1'] ['10.20.0.1'] -2 here\n";
    assert!(result.printed.starts_with(own), "{}", result.outcome);
    assert!(!result.queries("machine").contains(&"nas"), "{}", result.outcome);
}

#[test]
fn reverse_lookup_of_a_cluster_address_is_not_sent_to_local_name_servers() {
    let scenario =
        json!({ "cluster": {WEB: ["10.96.0.7"]}, "machine": {"7.0.96.10.in-addr.arpa": ["evil.example"]} });
    let script = "print(name('web'), query('7.0.96.10.in-addr.arpa', 12))\n\
        try: print(socket.gethostbyaddr('10.96.0.7')[0])\nexcept OSError as e: print(e.errno)";
    let Some(result) = run_scenario(scenario, script) else {
        return;
    };
    assert_eq!(result.printed, "['10.96.0.7'] None\n1", "{}", result.outcome);
    assert_eq!(
        result.queries("machine"),
        Vec::<&str>::new(),
        "{}",
        result.outcome
    );
}

#[test]
fn cluster_dns_answer_with_a_loopback_address_is_rejected() {
    let false_answers = json!({
        "a.example": ["127.0.0.1"], "b.example": ["0.0.0.0", "10.96.0.7"], "c.example": ["::1", "::ffff:127.0.0.1"],
    });
    let script = "names = ['a.example', 'b.example', 'c.example']\n\
        print([name(n) for n in names], [query(n) for n in names], query('c.example', 28), ask('a.example', 7))\n";
    let scenario = json!({ "cluster": false_answers, "command": "trace" });
    let Some(result) = run_scenario(scenario, script) else {
        return;
    };
    assert_eq!(
        result.printed, "[-5, ['10.96.0.7'], -5] [None, None, None] None -5",
        "{}",
        result.outcome
    );
    result
        .outcome
        .complains("127.0.0.1, which the cluster gave, would be this machine")
        .complains("hint: add --remote a.example to believe them\n");
    let scenario =
        json!({ "cluster": false_answers, "flags": ["--remote", "a.example", "--remote", "c.example"] });
    let script = "print(name('a.example'), query('a.example'), name('c.example'), ask('a.example', 7))";
    let Some(result) = run_scenario(scenario, script) else {
        return;
    };
    assert_eq!(
        result.printed, "['127.0.0.1'] 1 ['::1', '::ffff:127.0.0.1'] here",
        "{}",
        result.outcome
    );
}
