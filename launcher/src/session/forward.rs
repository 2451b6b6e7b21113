//! `kinject forward`: a session without a program, which a signal ends.

use super::events::serve_forwards;
use super::{Setup, with_relay};
use crate::exit::{Failure, Status};
use crate::forward_options::ForwardOptions;
use crate::message::{self, Severity};
use kinject_protocol::session::Trace;

/// Listens until a signal, or the end of the session.
pub(super) fn run(options: &ForwardOptions) -> Result<Status, Failure> {
    let request = options.request()?;
    let quiet = options.output.quiet;
    if !quiet && let Some((message, hint)) = ForwardOptions::exposure(&request) {
        message::say(Severity::Warning, &message, Some(hint));
    }
    let setup = Setup {
        connection: &options.connection,
        rules: &options.rules,
        output: &options.output,
        trace: options.output.is_traced().then_some(Trace::Stderr),
        workload: None,
        forward: Some(request),
    };
    with_relay(&setup, |up| {
        serve_forwards(up.events, up.channel, up.relay, up.early, quiet)
    })
}
