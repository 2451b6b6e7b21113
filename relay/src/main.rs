//! `kinject-relay` as an executable of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    kinject_relay::main()
}
