//! Name servers that lie: neither the cluster's nor this machine's lead a session's connections to where the other's are.

use std::process::Command;

use kinject_tests::place::Place;
use kinject_tests::programs::{Program, interpreter, python};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::kinject_run;
use kinject_tests::{binaries, place, skip};
use serde_json::{Value, json};

/// What the scripts use: addresses of names as libc finds them, and what is said at port 7 of an address.
const HELPERS: &str = "import ctypes, socket\n\
    def name(n):\n  try: return sorted({a[4][0] for a in socket.getaddrinfo(n, 1)})\n  except OSError as e: return e.errno\n\
    def ask(*target):\n  try: return socket.create_connection((target), 5).recv(9).decode()\n  except OSError as e: return e.errno\n\
    libc = ctypes.CDLL(None)\n\
    def query(n, kind=1):\n  \
    answer = ctypes.create_string_buffer(4096)\n  length = libc.res_query(n.encode(), 1, kind, answer, 4096)\n  \
    return answer.raw[6:8][1] if length > 0 else None\n";

/// What came of a scene of `two_resolvers.py`.
struct Played {
    outcome: Outcome,
    /// What the script printed.
    said: String,
    asked: Value,
}

impl Played {
    /// The questions that came to `cluster` or `machine`, each once, in the order in which they came first, without those
    /// by which a session tells whether a slow server answers at all.
    fn asked(&self, whose: &str) -> Vec<&str> {
        let mut names = Vec::new();
        for name in self.asked[whose].as_array().unwrap() {
            let name = name.as_str().unwrap();
            if name != PROBE && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// Plays a scene, in namespaces of its own; `None`, and a note, where those are not to be had.
fn play(mut scene: Value, script: &str) -> Option<Played> {
    if !rustix::process::geteuid().is_root() {
        skip::not_run("tests with name servers that lie", "they need root");
        return None;
    }
    scene["script"] = json!(format!("{HELPERS}{script}"));
    let stage = python("two_resolvers.py");
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount"])
        .arg(&stage.path)
        .args(&stage.arguments)
        .arg(binaries::kinject())
        .arg(binaries::path("kinject-agent"))
        .arg(scene.to_string());
    let outcome = run(&mut command);
    outcome.succeeded();
    let (said, asked) = outcome.stdout.trim_end().rsplit_once('\n').unwrap();
    Some(Played {
        said: said.to_owned(),
        asked: serde_json::from_str(asked).unwrap(),
        outcome,
    })
}

const WEB: &str = "web.default.svc.cluster.local";

/// Services of the cluster; their addresses are this machine's, too, so that it shows which network was taken.
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
        let scene = json!({
            "cluster": services(), "machine": {"lure.example": ["10.96.0.7"]}, "here": ["10.96.0.7"], "command": "trace",
        });
        // through the cluster, which is this machine itself here, the connection comes from the agent
        let connect = "socket.create_connection(('10.96.0.7', 7), 5).close()\n";
        let Some(played) = play(scene, &format!("{script}{connect}")) else {
            return;
        };
        assert_eq!(
            played.said.replace("None", "-2").matches("-2").count(),
            2,
            "{}",
            played.outcome
        );
        assert!(played.said.contains("['10.96.0.7']"), "{}", played.outcome);
        let trace = &played.outcome.stderr;
        let connect = trace.lines().find(|line| line.starts_with("connect ")).unwrap();
        let words: Vec<_> = connect.split_whitespace().collect();
        assert_eq!(
            words[1..5],
            ["10.96.0.7:7", "default", "cluster", "connected"],
            "{trace}"
        );
        played
            .outcome
            .complains("(10.96.0.7, which was found locally, is the cluster's)");
        played.outcome.complains(
            "kinject: warning: lure.example does not exist in the cluster, and here it has 10.96.0.7, an address of the cluster's\n\n\
             hint: add --local lure.example to reach it on this machine's network\n",
        );
    }
}

#[test]
fn local_rule_makes_a_service_address_local() {
    let scene = json!({
        "cluster": services(), "machine": {"lure.example": ["10.96.0.7"]}, "here": ["10.96.0.7"], "command": "trace",
        "flags": ["--local", "lure.example"],
    });
    let Some(played) = play(scene, "print(name('lure.example'), ask('10.96.0.7', 7))") else {
        return;
    };
    assert_eq!(played.said, "['10.96.0.7'] here", "{}", played.outcome);
    played.outcome.complains("left to this machine");
}

/// With names of this machine's hosts file, since the cluster's test machine has no name server.
#[test]
fn local_dns_answer_does_not_make_a_cluster_network_address_local() {
    let Some(cluster) = place::cluster() else { return };
    let pod = cluster.pod_of("default", "app=web").unwrap();
    let pod = cluster.kubectl_json(&["get", "pod", &pod]).unwrap();
    let network = pod["status"]["podIP"]
        .as_str()
        .unwrap()
        .rsplit_once('.')
        .unwrap()
        .0;
    // of which nobody has any: a Service's, and a pod's
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    let text = format!(
        "127.0.0.1 localhost\n10.96.250.250 service.example\n{network}.250 pod.example\n10.20.0.1 wiki.example\n"
    );
    std::fs::write(&hosts, text).unwrap();
    let names = "print(name('service.example'), name('pod.example'), name('wiki.example'))";
    let program = Program::new(interpreter()).args(["-SEc", &format!("{HELPERS}{names}")]);
    let place = Place::Cluster(cluster);
    let outcome = |flags: &[&str]| {
        let kinject = kinject_run(&place, flags, &program);
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

/// What the scripts about silent name servers use: what is said of a name, and whether that took long.
const TIMED: &str = "import time\n\
    def timed(ask, *what):\n  since = time.monotonic()\n  said = ask(*what)\n  \
    return said if time.monotonic() - since < 2.5 else 'LATE'\n\
    def host(a):\n  try: return socket.gethostbyaddr(a)[0]\n  except OSError as e: return e.errno\n";

/// What a slow name server is asked to see whether it answers at all.
const PROBE: &str = "1.0.0.127.in-addr.arpa";

/// A name server that answers nobody, as where a VPN is down.
const MUTE: &str = "127.0.0.99";

#[test]
fn silent_local_name_server_delays_one_lookup_by_a_second_and_is_then_skipped() {
    let scene = json!({
        "mute": [MUTE], "all_mute": true, "cluster": {WEB: ["10.96.0.7"]}, "hosts": "10.20.0.1 nas.example\n10.20.0.9 old.example\n",
    });
    let script = format!(
        "{TIMED}unknown = [f'name{{n}}.example' for n in range(20)]\n\
        print({{timed(name, n) for n in unknown}}, {{timed(query, n, k) for n in unknown for k in (1, 16, 33)}},\n  \
        timed(host, '10.20.0.2'), timed(host, '10.20.0.9'), timed(name, 'web'), timed(name, 'nas.example'),\n  \
        timed(name, socket.gethostname()) != 'LATE')"
    );
    let Some(played) = play(scene, &script) else {
        return;
    };
    assert_eq!(
        played.said, "{-2} {None} 1 old.example ['10.96.0.7'] ['10.20.0.1'] True",
        "{}",
        played.outcome
    );
    let asked = played.asked(MUTE);
    assert!(asked.contains(&"name0.example") && asked.len() < 10, "{asked:?}");
    let told = "kinject: warning: this machine's name server 127.0.0.99 does not answer: until it does, names that the cluster does \
        not know are looked up without it\n\nhint: check its VPN: ";
    assert_eq!(
        played.outcome.stderr.matches(told).count(),
        1,
        "{}",
        played.outcome
    );
    assert_eq!(
        played.outcome.stderr.matches("does not answer").count(),
        1,
        "{}",
        played.outcome
    );
}

#[test]
fn silent_name_server_is_skipped_where_another_answers() {
    let scene =
        json!({"mute": [MUTE], "machine": {"wiki.example": ["10.20.0.1"], "git.example": ["10.20.0.2"]}});
    let script = format!(
        "{TIMED}print(timed(name, 'wiki.example'), timed(query, 'git.example'), timed(name, 'missing.example'))\n\
        print({{timed(name, f'name{{n}}.example') for n in range(20)}}, timed(name, 'git.example'), timed(name, 'wiki.example'))"
    );
    let Some(played) = play(scene, &script) else {
        return;
    };
    let expected = "['10.20.0.1'] 1 -2\n{-2} ['10.20.0.2'] ['10.20.0.1']";
    assert_eq!(played.said, expected, "{}", played.outcome);
    assert!(played.asked(MUTE).len() < 10, "{}", played.outcome);
}

#[test]
fn recovered_name_server_is_asked_again() {
    let scene = json!({
        "mute": [MUTE], "all_mute": true, "patience": 12, "machine": {"wiki.example": ["10.20.0.1"]},
    });
    let script = format!(
        "{TIMED}first = timed(name, 'wiki.example')\n\
        while name('wiki.example') == -2: time.sleep(0.1)\n\
        print(first, name('wiki.example'), query('wiki.example'))"
    );
    let Some(played) = play(scene, &script) else {
        return;
    };
    assert_eq!(played.said, "-2 ['10.20.0.1'] 1", "{}", played.outcome);
}

#[test]
fn lookup_under_a_local_rule_asks_a_silent_name_server() {
    // who is asked for his own is waited for, as libc does
    let scene = json!({
        "mute": [MUTE], "machine": {"wiki.example": ["10.20.0.1"]}, "flags": ["--local", "wiki.example"],
    });
    let script = "print([query('wiki.example') for _ in range(3)])";
    let Some(played) = play(scene, script) else { return };
    assert_eq!(played.said, "[1, 1, 1]", "{}", played.outcome);
    assert!(played.asked(MUTE).contains(&"wiki.example"), "{}", played.outcome);
}

#[test]
fn reverse_lookup_under_a_local_rule_asks_local_name_servers() {
    let questions: Vec<_> = (1..=6)
        .map(|last| format!("{last}.0.20.10.in-addr.arpa"))
        .collect();
    let zone = questions
        .iter()
        .map(|question| (question.clone(), json!(["nas.example"])));
    let scene = json!({
        "mute": [MUTE], "machine": Value::Object(zone.collect()), "flags": ["--local", "10.20.0.0/16"], "command": "trace",
    });
    // the first ones take as long as it takes to find out that a name server is silent
    let script = "print([query(f'{n}.0.20.10.in-addr.arpa', 12) for n in range(1, 7)])";
    let Some(played) = play(scene, script) else { return };
    assert_eq!(played.said, "[1, 1, 1, 1, 1, 1]", "{}", played.outcome);
    // a rule has it asked all the same
    let asked = played.asked(MUTE);
    assert!(
        questions
            .iter()
            .all(|question| asked.contains(&question.as_str())),
        "{}",
        played.outcome
    );
    let lines = played.outcome.stderr.lines();
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
        played.outcome
    );
}

#[test]
fn possible_service_names_are_never_sent_to_local_name_servers() {
    let lies: Value = [
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
    let scene = json!({
        "cluster": exist, "machine": lies, "search": "office.example",
        "domains": "default.svc.cluster.local svc.cluster.local cluster.local nodes.example",
    });
    let script = "names = ['redis', 'orders.default', 'orders.held', 'db-0.db', 'db-0.db.held', 'vm.nodes.example', \
        'gone.default.svc', 'gone.other.svc.cluster.local']\n\
        print({name(n) for n in names}, {query(n) for n in names})\n\
        print(name('wiki.office.example'), name('missing.example'), name('nas.missing'))";
    let Some(played) = play(scene, script) else { return };
    let expected = "{-2} {None}\n['10.20.0.1'] -2 -2";
    assert_eq!(played.said, expected, "{}", played.outcome);
    // everything else is asked for as it is, without this machine's search list
    assert_eq!(
        played.asked("machine"),
        ["wiki.office.example", "missing.example", "nas.missing"],
        "{}",
        played.outcome
    );
    played
        .outcome
        .complains("the cluster has no name redis, and short names are not looked up on this machine\n\nhint: add --local redis to look it up here\n")
        .complains("hint: add --local orders.held to look it up here\n")
        .complains("hint: add --local vm.nodes.example to look it up here\n");
    assert!(!played.outcome.stderr.contains("svc"), "{}", played.outcome);
}

/// Where the cluster's name servers pass questions about other addresses on to servers that do not answer.
#[test]
fn address_without_an_upstream_ptr_answer_is_not_the_clusters() {
    let scene = json!({
        "cluster": {"kubernetes.default.svc.cluster.local": ["10.96.0.1"]},
        "cluster_fails": ["1.0.20.10.in-addr.arpa", "2.0.20.10.in-addr.arpa"],
        "machine": {"wiki.example": ["10.20.0.1"]}, "here": ["10.20.0.1"],
    });
    let Some(played) = play(scene, "print(name('wiki.example'), ask('wiki.example', 7))") else {
        return;
    };
    assert_eq!(played.said, "['10.20.0.1'] here", "{}", played.outcome);
    // nothing at all is told, not even what the cluster knows by itself
    let scene = json!({
        "cluster_fails": ["1.0.20.10.in-addr.arpa", "kubernetes.default.svc.cluster.local"],
        "machine": {"wiki.example": ["10.20.0.1"]},
    });
    let Some(played) = play(scene, "print(name('wiki.example'))") else {
        return;
    };
    assert_eq!(played.said, "-2", "{}", played.outcome);
}

#[test]
fn short_name_under_a_local_rule_uses_the_local_search_list() {
    let scene = json!({
        "machine": {"nas.office.example": ["10.20.0.1"]}, "search": "office.example", "here": ["10.20.0.1"],
        "flags": ["--local", "nas"],
    });
    let Some(played) = play(scene, "print(name('nas'), ask('nas', 7))") else {
        return;
    };
    assert_eq!(played.said, "['10.20.0.1'] here", "{}", played.outcome);
    assert_eq!(played.outcome.stderr, "");
}

#[test]
fn names_in_the_hosts_file_stay_local() {
    let scene = json!({
        "hosts": "10.20.0.1 nas printer.default.svc.cluster.local\n10.96.0.7 lure\nfd00::1 nas6\n",
        "cluster": services(), "here": ["10.20.0.1"],
    });
    let script = "print(name('nas'), name('nas6'), name('printer.default.svc.cluster.local'), name('lure'), ask('nas', 7))\n\
        print(type(name(socket.gethostname())))";
    let Some(played) = play(scene, script) else { return };
    let own = "['10.20.0.1'] ['fd00::1'] ['10.20.0.1'] -2 here\n";
    assert!(played.said.starts_with(own), "{}", played.outcome);
    assert!(!played.asked("machine").contains(&"nas"), "{}", played.outcome);
}

#[test]
fn reverse_lookup_of_a_cluster_address_is_not_sent_to_local_name_servers() {
    let scene =
        json!({ "cluster": {WEB: ["10.96.0.7"]}, "machine": {"7.0.96.10.in-addr.arpa": ["evil.example"]} });
    let script = "print(name('web'), query('7.0.96.10.in-addr.arpa', 12))\n\
        try: print(socket.gethostbyaddr('10.96.0.7')[0])\nexcept OSError as e: print(e.errno)";
    let Some(played) = play(scene, script) else { return };
    assert_eq!(played.said, "['10.96.0.7'] None\n1", "{}", played.outcome);
    assert_eq!(played.asked("machine"), Vec::<&str>::new(), "{}", played.outcome);
}

#[test]
fn cluster_dns_answer_with_a_loopback_address_is_rejected() {
    let lies = json!({
        "a.example": ["127.0.0.1"], "b.example": ["0.0.0.0", "10.96.0.7"], "c.example": ["::1", "::ffff:127.0.0.1"],
    });
    let script = "names = ['a.example', 'b.example', 'c.example']\n\
        print([name(n) for n in names], [query(n) for n in names], query('c.example', 28), ask('a.example', 7))\n";
    let scene = json!({ "cluster": lies, "command": "trace" });
    let Some(played) = play(scene, script) else { return };
    assert_eq!(
        played.said, "[-5, ['10.96.0.7'], -5] [None, None, None] None -5",
        "{}",
        played.outcome
    );
    played
        .outcome
        .complains("127.0.0.1, which the cluster gave, would be this machine")
        .complains("hint: add --remote a.example to believe them\n");
    let scene = json!({ "cluster": lies, "flags": ["--remote", "a.example", "--remote", "c.example"] });
    let script = "print(name('a.example'), query('a.example'), name('c.example'), ask('a.example', 7))";
    let Some(played) = play(scene, script) else { return };
    assert_eq!(
        played.said, "['127.0.0.1'] 1 ['::1', '::ffff:127.0.0.1'] here",
        "{}",
        played.outcome
    );
}
