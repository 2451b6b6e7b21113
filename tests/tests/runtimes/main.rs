//! Unmodified programs of all kinds: their output in a session is the same as bare in the agent's network.

mod command_line;
mod runtimes;
mod servers;

use kinject_tests::fixture::Fixture;
use kinject_tests::programs::python;
use kinject_tests::running::run;

/// The address of `db-0`.
fn pod(fixture: &Fixture) -> String {
    let found = run(&mut fixture.bare(&python("address.py").arg("db-0.db")));
    found.succeeded().stdout.trim().to_owned()
}
