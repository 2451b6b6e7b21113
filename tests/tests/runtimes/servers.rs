//! Clients of real servers, which run in the network of a pod.

use std::ffi::OsString;
use std::path::PathBuf;

use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::programs::{Program, find, installed, python_from_pypi, shell};
use kinject_tests::running::{Outcome, run};
use kinject_tests::servers::{Server, Start, prepare, subfolder};
use kinject_tests::skip;

use crate::pod;

fn line(fixture: &Fixture, line: &str) -> Outcome {
    fixture.same_however_it_ends(shell(&format!("{{ {line}; }} 2>&1")))
}

/// PostgreSQL's own programs, which Debian keeps out of PATH.
fn postgres_folder() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut folders = versions.map(|version| version.path().join("bin"));
    let found = folders.find(|folder| folder.join("postgres").is_file());
    let found = found.or_else(|| find("postgres")?.parent().map(PathBuf::from));
    if found.is_none() {
        skip::not_run("tests with a PostgreSQL server", "it is not installed");
    }
    found
}

fn postgres(fixture: &Fixture, programs: &std::path::Path) -> Server {
    Server::start(fixture, |port, folder| {
        let data = subfolder(folder, "data");
        prepare(
            &Program::new(programs.join("initdb"))
                .args([
                    "--username=postgres",
                    "--auth=trust",
                    "--no-sync",
                    "--no-instructions",
                    "--locale=C",
                    "-D",
                ])
                .arg(&data),
        );
        let trusting = "echo 'host all all all trust' >>\"$1\"";
        prepare(&shell(trusting).arg("trust").arg(data.join("pg_hba.conf")));
        let port = port.to_string();
        Program::new(programs.join("postgres"))
            .args([
                "-c",
                "listen_addresses=*",
                "-c",
                "unix_socket_directories=",
                "-c",
                "fsync=off",
                "-p",
                &port,
                "-D",
            ])
            .arg(data)
    })
}

/// A daemon with a repository of one commit.
fn repository(fixture: &Fixture, git: Program) -> Server {
    const MAKE: &str = "cd \"$1\" && git init -q --bare made.git && cd made.git && \
        tree=$(git mktree </dev/null) && commit=$(git commit-tree -m one \"$tree\") && \
        git update-ref refs/heads/main \"$commit\"";
    const WHO: [&str; 6] = [
        "GIT_AUTHOR_NAME=n",
        "GIT_AUTHOR_EMAIL=e",
        "GIT_AUTHOR_DATE=2026-01-01T00:00:00Z",
        "GIT_COMMITTER_NAME=n",
        "GIT_COMMITTER_EMAIL=e",
        "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z",
    ];
    Server::start(fixture, |port, folder| {
        // without the Git settings of the user who runs the tests
        let env = Program::new("/usr/bin/env").args(["HOME=/nonexistent", "XDG_CONFIG_HOME=/nonexistent"]);
        prepare(&env.clone().args(WHO).args(["sh", "-c", MAKE, "make"]).arg(folder));
        let mut base = OsString::from("--base-path=");
        base.push(folder);
        env.arg(git.path)
            .args(["daemon", "--export-all", "--reuseaddr", "--listen=0.0.0.0"])
            .arg(format!("--port={port}"))
            .arg(base)
    })
}

on_both_testbeds! {
    fn psql_with_a_database_matches_bare(fixture: shared) {
        if installed("psql").is_none() { return }
        let Some(programs) = postgres_folder() else { return };
        let server = postgres(fixture, &programs);
        let psql = format!("psql -X -At -h db-0.db -p {} -U postgres", server.port);
        line(fixture, &format!("{psql} -c 'select 1 + 1'")).exited(0).prints("2\n");
        line(fixture, &format!("{psql} -c \"select md5(string_agg(repeat('x', 1000), '')) from generate_series(1, 5000)\""))
            .exited(0);
        let lines = "create temp table t (n int);\ninsert into t select generate_series(1, 100000);\nselect sum(n) from t;\n";
        line(fixture, &format!("printf '{lines}' | {psql} -q")).exited(0).prints("5000050000\n");
        line(fixture, &format!("{psql} -c 'copy (select generate_series(1, 300000)) to stdout' | md5sum")).exited(0);
        line(fixture, &format!("psql -X -h db-0.db -p {} -U nobody -c 'select 1'", server.port)).exited(2)
            .shows("role \"nobody\" does not exist");
    }

    fn psql_reports_connection_failures_as_bare(fixture: shared) {
        if installed("psql").is_none() { return }
        line(fixture, "psql -h db-0.db -p 4444 -c 'select 1'").exited(2).shows("Connection refused");
        line(fixture, "psql -h missing.external.test -c 'select 1'").exited(2).shows("Name or service not known");
        line(fixture, "PGCONNECT_TIMEOUT=2 psql -h 198.18.0.1 -c 'select 1'").exited(2).shows("timeout expired");
    }

    fn redis_cli_with_a_database_matches_bare(fixture: shared) {
        let (Some(_), Some(redis)) = (installed("redis-cli"), installed("redis-server")) else { return };
        let server = Server::start(fixture, |port, _| {
            redis.args(["--port", &port.to_string(), "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""])
        });
        let cli = format!("redis-cli -h db-0.db -p {}", server.port);
        line(fixture, &format!("{cli} flushall && {cli} set name value && {cli} get name")).exited(0)
            .prints("OK\nOK\nvalue\n");
        line(fixture, &format!("{cli} set counter 0; seq 1 2000 | sed 's/.*/incr counter/' | {cli} | tail -1")).exited(0);
        line(fixture, &format!("{cli} --raw eval 'return string.rep(\"x\", 1000000)' 0 | md5sum")).exited(0);
        if installed("redis-benchmark").is_some() {
            let load = shell(&format!("redis-benchmark -h db-0.db -p {} -n 5000 -c 100 -t ping,get -q", server.port));
            run(&mut fixture.injected(&load)).succeeded().shows("GET");
        }
    }

    fn redis_cli_reports_connection_failures_as_bare(fixture: shared) {
        if installed("redis-cli").is_none() { return }
        line(fixture, "redis-cli -h db-0.db -p 4444 ping").shows("Connection refused");
        line(fixture, "redis-cli -h missing.external.test ping").shows("Name or service not known");
    }

    fn aioquic_with_many_streams_matches_bare(fixture: shared) {
        let Some(quic) = python_from_pypi("aioquic", "quic.py") else { return };
        let ask = |port: u16| quic.clone().args(["ask", "db-0.db", &port.to_string()]);
        // the interpreter may be in a folder that only this user can read
        let start = Start { unprivileged: false, answers: &ask };
        let server = Server::start_as(fixture, &start, |port, _| {
            quic.clone().args(["serve", &pod(fixture), &port.to_string()])
        });
        let outcome = fixture.same(ask(server.port));
        outcome.shows("connected\n").shows("stream 7: 300000 bytes, the same\n");
    }

    fn git_clone_from_a_daemon_matches_bare(fixture: shared) {
        let Some(git) = installed("git") else { return };
        let server = repository(fixture, git);
        let url = format!("git://db-0.db:{}/made.git", server.port);
        line(fixture, &format!("git ls-remote {url}")).exited(0).shows("refs/heads/main");
        line(fixture, &format!("folder=$(mktemp -d) && git clone -q --bare {url} $folder/clone && \
            git -C $folder/clone log --format=%s main; rm -r $folder")).exited(0).prints("one\n");
    }
}
