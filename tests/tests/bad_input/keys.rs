//! Key files: their owner, and who else can read them.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kinject_tests::binaries;
use kinject_tests::running::{run, run_within};
use kinject_tests::session::eventually;

const SECONDS: Duration = Duration::from_secs(15);

#[test]
fn key_readable_by_others_is_refused_and_the_hint_fixes_it() {
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(key.path(), [7; 32]).unwrap();
    let kinject = || {
        let mut command = kinject_tests::apart::kinject();
        command
            .args(["run", "--agent", "unix:/no/such/agent", "--agent-key"])
            .arg(key.path())
            .args(["--", "true"]);
        run_within(&mut command, SECONDS)
    };
    let name = key.path().display();
    for mode in [0o644, 0o660] {
        fs::set_permissions(key.path(), Permissions::from_mode(mode)).unwrap();
        let outcome = kinject();
        outcome
            .exited(125)
            .complains(&format!(
                "{name} can be read or written by others (mode 0{mode:o})"
            ))
            .complains(&format!("\n\nhint: `chmod 600 {name}`"));
    }
    run(Command::new("chmod").arg("600").arg(key.path())).succeeded();
    kinject()
        .exited(125)
        .complains("cannot reach the agent at unix:/no/such/agent");
}

/// The command of docs/how-to.md.
#[test]
fn documented_key_command_makes_a_private_key_that_both_ends_accept() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("secret.key");
    let recipe = format!(
        "umask 022; (umask 077; head -c 32 /dev/urandom > {})",
        key.display()
    );
    run(Command::new("sh").args(["-c", &recipe])).succeeded();
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("tcp:{port}");
    let _agent = Agent::start(&format!(
        "exec {} --listen {endpoint} --key <(cat {})",
        binaries::path("kinject-agent").display(),
        key.display()
    ));
    eventually("an agent that listens", SECONDS, || {
        run(Command::new("ss").args(["-Hltn", "sport", "=", &port.port().to_string()]))
            .stdout
            .contains("LISTEN")
    });
    let mut command = kinject_tests::apart::command("bash");
    command.args([
        "-c",
        "exec \"$0\" run --agent \"$1\" --agent-key <(cat \"$2\") -- echo ran",
    ]);
    command.arg(binaries::kinject()).arg(&endpoint).arg(&key);
    run_within(&mut command, SECONDS).succeeded().prints("ran\n");
}

struct Agent(Child);

impl Agent {
    fn start(script: &str) -> Self {
        let mut bash = Command::new("bash");
        bash.args(["-c", script])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        Self(bash.spawn().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
