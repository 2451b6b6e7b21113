//! What is left in the namespace of sessions that cannot remove anything themselves.

use std::time::Duration;

use crate::link::Machine;
use crate::user::{REMOVAL, User};

/// How long an agent waits for a relay that is gone.
const GRACE: Duration = Duration::from_secs(120);

/// How long an agent takes at most to find that nothing comes from its relay any more.
const SILENCE: Duration = Duration::from_secs(40);

/// How long the cluster keeps a Job that has ended.
const KEPT: Duration = Duration::from_secs(10);

/// No time limit is shortened here, so the test waits for minutes.
#[test]
#[ignore = "takes three minutes: run `cargo xtask abandoned`"]
fn sessions_killed_and_cut_off_leave_nothing_in_the_namespace() {
    let Some(user) = User::new() else { return };
    let machine = Machine::connected_to(&user.cluster);
    let killed = user.open_session(&[]);
    let enter = machine.enter();
    let mut cut_off = user.open_session(&enter.each_ref().map(String::as_str));
    assert_eq!(user.made("jobs").len(), 2);
    killed.kill();
    machine.cut();
    user.namespace_becomes_as_before(SILENCE + GRACE + KEPT + 2 * REMOVAL);
    assert!(cut_off.is_running(), "it was the cluster that removed everything");
    cut_off.kill();
}
