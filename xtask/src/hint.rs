//! Errors with a hint.

use anyhow::Error;

/// What went wrong, and what its reader can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Hinted {
    message: String,
    hint: String,
}

/// An error whose hint is printed under it.
pub(crate) fn error(message: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::new(Hinted {
        message: message.into(),
        hint: hint.into(),
    })
}

/// The hint that an error carries, whatever context was put around it.
pub(crate) fn of(error: &Error) -> Option<&str> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Hinted>())
        .map(|hinted| hinted.hint.as_str())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    #[test]
    fn hint_is_found_through_added_context() {
        let failure: anyhow::Result<()> = Err(super::error("no root", "use sudo"));
        let failure = failure.context("starting the node").unwrap_err();
        assert_eq!(format!("{failure:#}"), "starting the node: no root");
        assert_eq!(super::of(&failure), Some("use sudo"));
    }
}
