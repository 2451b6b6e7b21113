//! Rules route targets over this machine's network or through the cluster, and a trace shows the route.

use std::fs;
use std::process::Command;

use kinject_tests::programs::{Program, interpreter, shell};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::kinject_run;
use kinject_tests::terminal::Terminal;
use kinject_tests::testbed::shared_sandbox;

/// This machine's own names; the cluster has some of them too.
const HOSTS: &str = "127.0.0.1 localhost\n10.99.0.1 printer.office.test\n10.99.0.1 web.default api.default\n";

/// Runs a script of Python in a session with these flags, in a network of its own: 10.99.0.1 and the cluster's
/// 10.96.10.3 are this machine's there, and on both a server greets at port 7005.
fn in_own_network(flags: &[&str], script: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, HOSTS).unwrap();
    let serve = "import socket, threading\nl = socket.create_server(('0.0.0.0', 7005))\n\
        def serve():\n  while True: l.accept()[0].sendall(b'from here')\n\
        threading.Thread(target=serve, daemon=True).start()\n\
        def name(n):\n  try: return socket.gethostbyname(n)\n  except OSError: return None\n\
        def ask(*target):\n  return socket.create_connection(target, 5).recv(99).decode().strip()\n";
    let program = Program::new(interpreter()).args(["-SEc", &format!("{serve}{script}")]);
    let kinject = kinject_run(shared_sandbox(), flags, &program);
    let surroundings = "mount --bind \"$0\" /etc/hosts && ip link set lo up && ip address add 10.99.0.1/32 dev lo && \
        ip address add 10.96.10.3/32 dev lo && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["sh", "-c", surroundings])
        .arg(&hosts)
        .arg(kinject.get_program())
        .args(kinject.get_args());
    run(&mut command)
}

#[test]
fn cluster_address_without_a_rule_goes_to_the_cluster() {
    let outcome = in_own_network(&[], "print(name('echo'), ask('10.96.10.3', 7005))");
    outcome.succeeded().prints("10.96.10.3 welcome\n");
}

#[test]
fn address_or_network_rule_decides_the_route() {
    for rule in [
        "10.96.10.3",
        "10.96.0.0/16",
        "10.96.10.3:7005",
        "*:7005",
        "[::ffff:10.96.10.3]:7005",
    ] {
        let outcome = in_own_network(&["--local", rule], "print(ask('10.96.10.3', 7005))");
        outcome.succeeded().prints("from here\n");
    }
    for rule in [
        "10.96.10.4",
        "10.97.0.0/16",
        "10.96.10.3:7000",
        "echo",
        "fd00::/8",
    ] {
        let flags = ["--local", rule, "--remote", "*"];
        let outcome = in_own_network(&flags, "print(ask('10.96.10.3', 7005))");
        outcome.succeeded().prints("welcome\n");
    }
}

#[test]
fn first_matching_rule_wins() {
    let script = "print(ask('10.96.10.3', 7005))";
    let flags = ["--remote", "10.96.10.3", "--local", "10.96.0.0/16"];
    in_own_network(&flags, script).succeeded().prints("welcome\n");
    let flags = ["--local", "10.96.0.0/16", "--remote", "10.96.10.3"];
    in_own_network(&flags, script).succeeded().prints("from here\n");
}

#[test]
fn name_rule_decides_the_lookup_and_the_connections_that_follow() {
    let names = "print(name('web.default'), name('api.default'), name('printer.office.test'))\n";
    in_own_network(&[], names)
        .succeeded()
        .prints("10.96.10.1 10.96.10.2 10.99.0.1\n");
    let flags = [
        "--remote",
        "web.default",
        "--local",
        "*.default",
        "--remote",
        "*.office.test",
    ];
    in_own_network(&flags, names)
        .succeeded()
        .prints("10.96.10.1 10.99.0.1 None\n");
    let script = "print(ask('api.default', 7005), ask('echo.default.svc', 7005))";
    in_own_network(&flags, script)
        .succeeded()
        .prints("from here welcome\n");
}

#[test]
fn name_and_port_rule_matches_only_connections_to_that_port() {
    let flags = ["--local", "echo:7005"];
    let script = "print(name('echo'), ask('echo', 7005))\nc = socket.create_connection(('echo', 7000), 5)\n\
        c.sendall(b'?')\nprint(c.recv(1))";
    in_own_network(&flags, script)
        .succeeded()
        .prints("10.96.10.3 from here\nb'?'\n");
}

#[test]
fn rules_file_is_applied_at_its_position_among_the_flags() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules");
    fs::write(
        &file,
        "# the office\nlocal 10.96.0.0/16   # a branch\n\nremote *\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let script = "print(ask('10.96.10.3', 7005))";
    in_own_network(&["--rules", file], script)
        .succeeded()
        .prints("from here\n");
    let flags = ["--remote", "10.96.10.3", "--rules", file];
    in_own_network(&flags, script).succeeded().prints("welcome\n");
}

#[test]
fn invalid_rule_is_reported_before_the_session_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules");
    fs::write(&file, "local a\nlocal 10.0.0.0/99\n").unwrap();
    let name = file.to_str().unwrap();
    for (flags, words) in [
        (
            ["--local", "10.0.0.0/99"],
            "kinject: error: --local `10.0.0.0/99`: a prefix of IPv4 has at most 32 bits\n".into(),
        ),
        (
            ["--remote", "127.0.0.1"],
            "kinject: error: --remote `127.0.0.1`: loopback is always this machine's\n".into(),
        ),
        (
            ["--rules", name],
            format!("kinject: error: {name}:2: `10.0.0.0/99`: a prefix of IPv4 has at most 32 bits\n"),
        ),
        (
            ["--rules", "/nonexistent"],
            "kinject: error: cannot read the rules in /nonexistent: ".into(),
        ),
    ] {
        let outcome = run(&mut kinject_run(shared_sandbox(), &flags, &shell("echo ran")));
        outcome
            .exited(125)
            .prints("")
            .complains(&words)
            .complains("\nhint: ");
    }
}

/// The lines of a trace, without their times.
fn lines(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let without_time = lines.map(|words| {
        assert_eq!(words.last(), Some(&"ms"), "{words:?}");
        words[..words.len() - 2].join(" ")
    });
    without_time.collect()
}

fn trace(flags: &[&str], program: &Program) -> Command {
    let run = kinject_run(shared_sandbox(), flags, program);
    let mut command = Command::new(run.get_program());
    command.args(run.get_args().map(|argument| {
        if argument == "run" {
            "trace".as_ref()
        } else {
            argument
        }
    }));
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

const ASK: &str = "import socket\n\
    for target in [('echo', 7005), ('refused', 80), ('missing.external.test', 80), ('127.0.0.1', 1)]:\n  \
    try: socket.create_connection(target, 5).close()\n  except OSError: pass\n";

const EXPECTED: [&str; 5] = [
    "lookup echo default cluster 10.96.10.3",
    "connect 10.96.10.3:7005 default cluster connected",
    "lookup refused default cluster 10.96.10.9",
    "connect 10.96.10.9:80 default cluster ECONNREFUSED",
    "lookup missing.external.test default cluster EAI_NONAME",
];

#[test]
fn trace_prints_a_line_for_each_decision() {
    let program = Program::new(interpreter()).args(["-SEc", ASK]);
    let outcome = run(&mut trace(&[], &program));
    assert_eq!(lines(&outcome.succeeded().stderr), EXPECTED, "{outcome}");
    let mut by_environment = kinject_run::<&str>(shared_sandbox(), &[], &program);
    let outcome = run(by_environment.env("KINJECT_LOG", "trace"));
    assert_eq!(lines(&outcome.succeeded().stderr), EXPECTED, "{outcome}");
    let outcome = run(&mut kinject_run::<&str>(shared_sandbox(), &[], &program));
    assert_eq!(outcome.succeeded().stderr, "");
}

#[test]
fn trace_fits_the_terminal_width_and_is_complete_without_a_terminal() {
    let program = Program::new(interpreter()).args(["-SEc", ASK]);
    for columns in [80, 60] {
        let rule = ["--quiet", "--local", "*.external.test"];
        let mut terminal = Terminal::start_in(trace(&rule, &program), columns);
        assert!(terminal.ended().success());
        let shown = terminal.shown();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), EXPECTED.len(), "{shown}");
        for line in &lines {
            assert!(line.chars().count() <= usize::from(columns), "{shown}");
            assert!(line.ends_with(" ms"), "{shown}");
        }
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(lines[0])[..5],
            ["lookup", "echo", "default", "cluster", "10.96.10.3"]
        );
    }
    let whole = run(&mut trace(&["--quiet"], &program));
    let widths: Vec<usize> = whole.stderr.lines().map(str::len).collect();
    assert!(widths.iter().all(|width| *width > 100), "{whole}");
}

/// gethostbyname(3) has other error names than getaddrinfo(3).
#[test]
fn failed_lookup_is_traced_with_the_error_name_of_its_function() {
    let ask = "import ctypes, socket\n\
        try: socket.getaddrinfo('missing.external.test', 80)\nexcept OSError: pass\n\
        ctypes.CDLL(None).gethostbyname(b'missing.external.test')\n\
        try: socket.getaddrinfo('web', 80, socket.AF_INET6)\nexcept OSError: pass\n";
    let outcome = run(&mut trace(&[], &Program::new(interpreter()).args(["-SEc", ask])));
    let expected = [
        "lookup missing.external.test default cluster EAI_NONAME",
        "lookup missing.external.test default cluster HOST_NOT_FOUND",
        "lookup web default cluster EAI_NODATA",
    ];
    assert_eq!(lines(&outcome.succeeded().stderr), expected, "{outcome}");
}

/// The log of `-v` and `-vv` has no names or brackets of Rust's debug output.
#[test]
fn call_log_has_plain_words_and_no_type_names() {
    let ask = format!(
        "{ASK}s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.sendto(b'?', ('10.96.10.3', 7000))\n\
        c = socket.create_connection(('echo', 7000), 5)\nc.sendall(b'four')\nc.recv(4)\nc.close()\n"
    );
    let program = Program::new(interpreter()).args(["-SEc", &ask]);
    let outcome = run(&mut kinject_run(shared_sandbox(), &["-vv"], &program));
    for line in [
        "debug: lookup of echo: 10.96.10.3 from the cluster\n",
        "debug: lookup of missing.external.test: EAI_NONAME\n",
        "debug: connect to 10.96.10.9:80: ECONNREFUSED\n",
        "debug: datagrams to 10.96.10.3:7000: carried\n",
        "debug: 10.96.10.3:7000 closed, 4 bytes sent, 4 received\n",
        "info: the session ends\n",
    ] {
        outcome.succeeded().complains(line);
    }
    // the ready message has the transport in brackets
    let mut logged = outcome
        .stderr
        .lines()
        .filter(|line| !line.starts_with("kinject: "));
    assert!(!logged.any(|line| line.contains(['{', '[', '('])), "{outcome}");
}

#[test]
fn res_query_calls_are_traced_as_lookups() {
    let ask = "import ctypes\n\
        libc, answer = ctypes.CDLL(None), ctypes.create_string_buffer(4096)\n\
        for name, kind in [(b'web', 1), (b'missing.external.test', 1), (b'empty.external.test', 16)]:\n  \
        libc.res_search(name, 1, kind, answer, 4096)\n\
        libc.res_query(b'web.other.svc.cluster.local', 1, 1, answer, 4096)\n\
        libc.res_query(b'missing.external.test', 1, 1, answer, 4096)\n";
    let outcome = run(&mut trace(&[], &Program::new(interpreter()).args(["-SEc", ask])));
    let expected = [
        "lookup web default cluster 10.96.10.1",
        "lookup missing.external.test default cluster HOST_NOT_FOUND",
        "lookup empty.external.test default cluster NOERROR",
        "lookup web.other.svc.cluster.local default cluster 10.96.10.4",
        "lookup missing.external.test default cluster NXDOMAIN",
    ];
    assert_eq!(lines(&outcome.succeeded().stderr), expected, "{outcome}");
}

#[test]
fn trace_names_the_rule_and_is_written_to_the_given_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    fs::write(&file, "what was there before\n").unwrap();
    let program = Program::new(interpreter()).args(["-SEc", ASK]);
    let output = file.to_str().unwrap();
    let flags = [
        "--local",
        "*.external.test",
        "--output",
        output,
        "--remote",
        "echo",
    ];
    let outcome = run(&mut trace(&flags, &program));
    assert_eq!(outcome.succeeded().stderr, "");
    let expected = [
        "lookup echo --remote echo cluster 10.96.10.3",
        "connect 10.96.10.3:7005 (echo) --remote echo cluster connected",
        "lookup refused default cluster 10.96.10.9",
        "connect 10.96.10.9:80 (refused) default cluster ECONNREFUSED",
        "lookup missing.external.test --local *.external.test local EAI_NONAME",
    ];
    assert_eq!(lines(&fs::read_to_string(&file).unwrap()), expected);
    let outcome = run(&mut trace(&["-o", "/nonexistent/trace"], &program));
    outcome.exited(125).complains("cannot write /nonexistent/trace: ");
}
