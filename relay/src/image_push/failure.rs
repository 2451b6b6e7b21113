//! Why a registry did not take an image, and what to do.

use kinject_protocol::session::Report;
use oci_client::Reference;
use oci_client::errors::OciDistributionError;
use serde_json::Value;
use std::any::Any;
use std::error::Error;
use std::io;

/// Says why a registry did not take the image.
pub(super) fn report(reference: &Reference, error: &OciDistributionError) -> Report {
    let (registry, repository) = (reference.registry(), reference.repository());
    let log_in = format!("run `docker login {registry}` as a user who may push {repository}");
    let (why, hint) = match error {
        OciDistributionError::AuthenticationFailure(_) | OciDistributionError::UnauthorizedError { .. } => {
            (causes(error), log_in)
        }
        OciDistributionError::ServerError { code, message, .. } => {
            let hint = match code {
                401 | 403 => log_in,
                _ => format!("ask who runs {registry}"),
            };
            (
                format!("the registry answers {code}: {}", first_error(message)),
                hint,
            )
        }
        OciDistributionError::RequestError(_) => (causes(error), hint_for_connection(error, registry)),
        _ => (
            causes(error),
            format!("ask who runs {registry} for the right to push {repository}"),
        ),
    };
    Report {
        message: format!("cannot push {}: {why}", reference.whole()),
        hint: Some(hint),
    }
}

/// What to do where no answer came.
fn hint_for_connection(error: &(dyn Error + 'static), registry: &str) -> String {
    match tls_error(error) {
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("check that {registry} is the registry's address; if it has no TLS, add --plain-http")
        }
        Some(rustls::Error::InvalidCertificate(_)) => format!(
            "set SSL_CERT_FILE to a PEM file with the certificate of the authority that signed {registry}'s"
        ),
        Some(_) => format!("ask who runs {registry} which versions of TLS it speaks"),
        None => format!("check that {registry} can be reached"),
    }
}

/// What has gone wrong with TLS, if that caused the error.
fn tls_error<'error>(error: &'error (dyn Error + 'static)) -> Option<&'error rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // an io::Error gives what is in it by a method of its own, and passes it over as its source
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Says that the HTTP client panicked at what a registry answered.
pub(super) fn report_panic(reference: &Reference, panic: &(dyn Any + Send)) -> Report {
    let why = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic");
    let registry = reference.registry();
    Report {
        message: format!(
            "cannot push {}: {registry} gave an answer that cannot be understood: {why}",
            reference.whole()
        ),
        hint: Some(format!(
            "ask who runs {registry} whether it follows the OCI distribution specification"
        )),
    }
}

/// What a registry's answer says: in the form of the OCI distribution specification, or as it stands.
fn first_error(answer: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(answer).ok();
    let message = parsed
        .as_ref()
        .and_then(|answer| answer["errors"][0]["message"].as_str());
    message.unwrap_or(answer).trim().to_owned()
}

/// An error with all that caused it: an HTTP client's own words are only that something failed.
fn causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.ends_with(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{CertificateError, InvalidMessage};

    #[test]
    fn answer_of_a_registry_is_told_by_its_message() {
        let answer =
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}"#;
        assert_eq!(first_error(answer), "authentication required");
        assert_eq!(first_error("no more space\n"), "no more space");
    }

    #[test]
    fn certificate_error_is_answered_with_ssl_cert_file_and_not_with_plain_http() {
        let hint = |error: rustls::Error| {
            let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
            hint_for_connection(&error, "registry.example")
        };
        let certificate = hint(CertificateError::UnknownIssuer.into());
        assert!(certificate.starts_with("set SSL_CERT_FILE "), "{certificate}");
        assert!(!certificate.contains("--plain-http"), "{certificate}");
        let no_tls = hint(InvalidMessage::InvalidContentType.into());
        assert!(no_tls.ends_with("add --plain-http"), "{no_tls}");
        let refused = hint_for_connection(
            &io::Error::from(io::ErrorKind::ConnectionRefused),
            "registry.example",
        );
        assert_eq!(refused, "check that registry.example can be reached");
    }
}
