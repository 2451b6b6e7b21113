//! Unchanged programs of all kinds: what they print in a session is what they print bare in the agent's network.

mod command_line;
mod runtimes;
mod servers;

use kinject_tests::programs::python;
use kinject_tests::running::run;
use kinject_tests::scene::Scene;

/// The address of `db-0`.
fn pod(scene: &Scene) -> String {
    let found = run(&mut scene.bare(&python("address.py").arg("db-0.db")));
    found.succeeded().stdout.trim().to_owned()
}
