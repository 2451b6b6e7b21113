//! What is left of a session whose launcher and relay were both killed, and that the next session removes it.

use std::time::Duration;

use kinject_tests::process;
use kinject_tests::programs::shell;
use kinject_tests::running::run;
use kinject_tests::session::{Session, eventually, kinject_run};
use kinject_tests::testbed::shared_sandbox;
use rustix::process::{Pid, Signal, kill_process};

/// How long a killed process may take to be gone.
const END: Duration = Duration::from_secs(20);

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn folder_of_a_killed_session_is_removed_by_the_next_and_that_of_a_live_one_is_not() {
    let live = Session::start::<&str>(shared_sandbox(), &[]);
    let mut killed = Session::start::<&str>(shared_sandbox(), &[]);
    let (relay, folder) = (killed.relay(), killed.folder());
    // a relay whose launcher is gone would remove it
    kill(relay);
    kill(killed.launcher());
    assert_eq!(killed.ended(), 137);
    eventually("the relay's end", END, || !process::is_alive(relay));
    run(&mut kinject_run::<&str>(shared_sandbox(), &[], &shell("true"))).succeeded();
    assert!(!folder.exists());
    assert!(live.folder().join("control.sock").exists());
}

/// The launcher holds the lock as well: programs go on with the session's folder.
#[test]
fn folder_of_a_session_whose_relay_was_killed_stays_while_its_launcher_lives() {
    let session = Session::start::<&str>(shared_sandbox(), &[]);
    let (relay, folder) = (session.relay(), session.folder());
    kill(relay);
    eventually("the relay's end", END, || !process::is_alive(relay));
    run(&mut kinject_run::<&str>(shared_sandbox(), &[], &shell("true"))).succeeded();
    assert!(folder.exists());
    assert_eq!(session.end(), 0);
    assert!(!folder.exists());
}
