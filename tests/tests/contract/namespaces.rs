//! Programs in namespaces and root directories of their own (namespaces(7), chroot(2)): with private mounts they stay
//! in the session, with a network namespace they use that network.

use std::path::Path;
use std::process::Command;

use kinject_tests::binaries;
use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::programs::{self, Program, installed, libc_call, python, shell};
use kinject_tests::running::{Outcome, run};

use crate::targets::GREETING;

/// The folders of kinject's library, of the tests' programs and of their interpreter, which have to be visible.
fn folders() -> [String; 3] {
    let python = programs::interpreter()
        .ancestors()
        .nth(2)
        .expect("it lies in a folder of its own");
    [&binaries::folder(), &programs::folder(), python]
        .map(|folder: &Path| folder.to_str().expect("a plain name").to_owned())
}

/// Behind private folders for temporary files and sockets; none, and a note, without bwrap(1).
fn behind_private_mounts(program: &Program) -> Option<Program> {
    let mut bwrap = installed("bwrap")?.args(["--unshare-user", "--dev-bind", "/", "/"]);
    for hidden in ["/tmp", "/run", "/dev/shm"] {
        bwrap = bwrap.args(["--tmpfs", hidden]);
    }
    for folder in folders() {
        bwrap = bwrap.args(["--ro-bind", &folder, &folder]);
    }
    Some(bwrap.arg(&program.path).args(&program.arguments))
}

/// In a root directory that has no more than it needs, and no /proc.
fn in_another_root(program: &Program) -> Program {
    let line = "root=$(mktemp -d) && mkdir \"$root/tmp\" && for folder in /usr /etc /dev \"$1\" \"$2\" \"$3\"; do \
                mkdir -p \"$root$folder\" && mount --rbind \"$folder\" \"$root$folder\" || exit; done && \
                for link in bin lib lib64 sbin; do ln -s usr/$link \"$root/$link\" || exit; done && \
                shift 3 && exec chroot \"$root\" \"$@\"";
    // a file system of its own, which goes with the namespace
    let line = format!("mount -t tmpfs none /mnt && TMPDIR=/mnt && export TMPDIR && {line}");
    Program::new("/usr/bin/unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &line, "root"])
        .args(folders())
        .arg(&program.path)
        .args(&program.arguments)
}

/// In a network namespace of its own; none, and a note, where it cannot be made.
fn in_other_networks(program: &Program) -> Vec<Program> {
    let mut all = vec![Program::new("/usr/bin/unshare").args(["--user", "--map-root-user", "--net"])];
    if let Some(bwrap) = installed("bwrap") {
        all.push(bwrap.args([
            "--unshare-user",
            "--unshare-net",
            "--cap-add",
            "CAP_NET_ADMIN",
            "--dev-bind",
            "/",
            "/",
        ]));
    }
    let with = |sandbox: Program| sandbox.arg(&program.path).args(&program.arguments);
    all.into_iter().map(with).collect()
}

/// What a program prints in the session is what it prints bare in the agent's network, both within a sandbox.
///
/// Programs in the project's sandbox cannot make namespaces. There the bare program runs without them if it keeps the
/// network, and outside of the sandbox if it does not; both are equivalent.
fn same(fixture: &Fixture, wrapped: Program, in_the_sandbox: &mut Command) -> Outcome {
    if fixture.sandbox().is_none() {
        return fixture.same(wrapped);
    }
    let bare = run(in_the_sandbox);
    let injected = run(&mut fixture.injected(&wrapped));
    injected.succeeded().prints(&bare.succeeded().stdout);
    injected
}

fn is_in_the_session(fixture: &Fixture, wrapped: impl Fn(&Program) -> Option<Program>) {
    let same = |program: Program| Some(same(fixture, wrapped(&program)?, &mut fixture.bare(&program)));
    if let Some(outcome) = same(python("visible.py").args(GREETING)) {
        outcome
            .shows("name 10.96.10.1\n")
            .shows("stream b'welcome\\n'\n")
            .shows("datagram ('1234', 0, ('10.96.0.10', 53))\n")
            .shows("size is the file's True\n")
            .shows("nameserver 10.96.0.10\n");
    }
    same(libc_call("open_files").arg("/etc/resolv.conf"));
    same(shell("env -i /usr/bin/curl -sS http://web/"));
    if let Some(outcome) = same(Program::new("/usr/bin/curl").args(["-sS", "http://web/"])) {
        outcome.prints("hello from web\n");
    }
}

/// Runs a program in a network namespace made by each tool; the outcomes are those of the session.
fn in_networks_of_their_own(fixture: &Fixture, program: &Program) -> Vec<Outcome> {
    let all = in_other_networks(program).into_iter();
    all.map(|wrapped| same(fixture, wrapped.clone(), &mut wrapped.command()))
        .collect()
}

on_both_testbeds! {
    fn program_behind_private_mounts_stays_in_the_session(fixture: shared) {
        is_in_the_session(fixture, behind_private_mounts);
    }

    fn program_in_another_root_directory_stays_in_the_session(fixture: shared) {
        is_in_the_session(fixture, |program| Some(in_another_root(program)));
    }

    fn program_in_its_own_network_namespace_uses_that_network(fixture: shared) {
        for outcome in in_networks_of_their_own(fixture, &python("apart.py").args(GREETING)) {
            outcome
                .shows("name -3 \n")
                .shows("stream ENETUNREACH \n")
                .shows("non-blocking stream ENETUNREACH \n")
                .shows("datagram ENETUNREACH \n")
                .shows("connected datagram ENETUNREACH \n")
                .shows("loopback True True\n")
                .shows("own server b'here' ('10.96.10.3', 7005) 10.96.10.3\n");
            assert!(!outcome.stdout.contains("late"), "{outcome}");
        }
    }

    fn res_query_in_its_own_network_namespace_uses_that_network(fixture: shared) {
        for call in [
            libc_call("dns_messages").args(["web", "web.default.svc.cluster.local"]),
            libc_call("host_entries").args(["web", "web.default"]),
            libc_call("address_names").arg(GREETING[0]),
        ] {
            in_networks_of_their_own(fixture, &call);
        }
    }

    fn resolv_conf_in_another_network_namespace_is_the_pods(fixture: shared) {
        for program in in_other_networks(&Program::new("/bin/cat").arg("/etc/resolv.conf")) {
            same(fixture, program, &mut fixture.bare(&Program::new("/bin/cat").arg("/etc/resolv.conf")))
                .shows("nameserver 10.96.0.10\n");
        }
    }

    fn socket_uses_the_network_namespace_it_was_created_in(fixture: shared) {
        if !rustix::process::geteuid().is_root() {
            return kinject_tests::skip::not_run("sockets of two network namespaces", "they need root");
        }
        // entering a pod's network again takes privileges that a pod does not have
        let program = libc_call("two_networks").args(GREETING);
        run(&mut fixture.injected(&program)).succeeded().prints(
            "from there, a socket of here: 0\n\
             from there, a socket of there: ENETUNREACH\n\
             from here, a socket of there: ENETUNREACH\n\
             from here, datagrams of there: ENETUNREACH\n",
        );
    }
}
