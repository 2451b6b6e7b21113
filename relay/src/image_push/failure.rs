//! The messages for the user when an image is not pushed, each with what to do.

use kinject_protocol::session::Report;
use oci_client::Reference;
use oci_client::errors::OciDistributionError;
use rustls::CertificateError;
use serde_json::Value;
use std::any::Any;
use std::error::Error;
use std::io;

/// The longest message of a registry's that is shown, in characters: some answer with a page of HTML.
const LONGEST_MESSAGE: usize = 1000;

/// A message and its hint.
pub(super) fn say(message: impl Into<String>, hint: impl Into<String>) -> Report {
    Report {
        message: message.into(),
        hint: Some(hint.into()),
    }
}

/// Says that an image was not pushed, and why.
pub(super) fn refusal(reference: &Reference, why: &str, hint: String) -> Report {
    say(format!("cannot push {}: {why}", reference.whole()), hint)
}

/// The hint for credentials that are missing or wrong.
pub(super) fn log_in(reference: &Reference) -> String {
    format!(
        "run `docker login {}` as a user who may push {}",
        reference.registry(),
        reference.repository()
    )
}

/// Says why a registry did not take the image.
pub(super) fn report(reference: &Reference, error: &OciDistributionError) -> Report {
    let (registry, repository) = (reference.registry(), reference.repository());
    let (why, hint) = match error {
        OciDistributionError::AuthenticationFailure(_) | OciDistributionError::UnauthorizedError { .. } => {
            (causes(error), log_in(reference))
        }
        OciDistributionError::ServerError { code, message, .. } => {
            let hint = match code {
                401 | 403 => log_in(reference),
                _ => format!("ask who runs {registry}"),
            };
            (
                format!("the registry answers {code}: {}", message_of(message)),
                hint,
            )
        }
        OciDistributionError::RequestError(_) => (causes(error), hint_for_connection(error, registry)),
        _ => (
            causes(error),
            format!("ask who runs {registry} for the right to push {repository}"),
        ),
    };
    refusal(reference, &why, hint)
}

/// The hint for a connection that failed.
fn hint_for_connection(error: &(dyn Error + 'static), registry: &str) -> String {
    match tls_error(error) {
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("check that {registry} is the registry's address; if it has no TLS, add --plain-http")
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => format!("name {registry} as its certificate does"),
        Some(rustls::Error::InvalidCertificate(_)) => format!(
            "set SSL_CERT_FILE to a PEM file with the certificate of the authority that signed {registry}'s"
        ),
        Some(_) => format!("ask who runs {registry} which versions of TLS it speaks"),
        None => format!("check that {registry} can be reached"),
    }
}

/// The error of TLS among the causes of an error.
pub(super) fn tls_error<'error>(error: &'error (dyn Error + 'static)) -> Option<&'error rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // the source of an io::Error is that of the error inside, which only get_ref gives
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

/// What the body of a registry's or a token server's answer says: all errors in the form of the OCI distribution
/// specification, with what they say in detail; the one error in the form of OAuth 2 (RFC 6749, section 5.2) or Docker
/// Hub's; otherwise the body as it stands.
pub(super) fn message_of(body: &str) -> String {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    let joined = |parts: [String; 3]| {
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(": ")
    };
    let errors = parsed["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let errors: Vec<String> = errors
        .iter()
        .map(|error| joined([&error["code"], &error["message"], &error["detail"]].map(text)))
        .filter(|error| !error.is_empty())
        .collect();
    let single = || joined([&parsed["error"], &parsed["error_description"], &parsed["details"]].map(text));
    let message = match errors.is_empty() {
        false => errors.join("; "),
        true => single(),
    };
    match message.is_empty() {
        false => shortened(&message),
        true => shortened(body.trim()),
    }
}

/// At most [`LONGEST_MESSAGE`] characters of a text. The launcher escapes what a terminal would execute.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
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
    use rustls::InvalidMessage;

    #[test]
    fn every_error_of_an_answer_is_shown_with_its_code_and_message() {
        for (body, message) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"quota of project team is used up"},
                    {"code":"TOOMANYREQUESTS","message":"slow down","detail":"limit of 100"}]}"#,
                "DENIED: quota of project team is used up; TOOMANYREQUESTS: slow down: limit of 100",
            ),
            (
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}"#,
                "UNAUTHORIZED: authentication required",
            ),
            (
                r#"{"error":"invalid_grant","error_description":"the token was revoked"}"#,
                "invalid_grant: the token was revoked",
            ),
            (
                r#"{"details":"incorrect username or password"}"#,
                "incorrect username or password",
            ),
            (r#"{"errors":[]}"#, r#"{"errors":[]}"#),
            ("no more space\n", "no more space"),
            ("", ""),
        ] {
            assert_eq!(message_of(body), message);
        }
    }

    #[test]
    fn message_is_whole_up_to_its_limit_and_then_cut_with_an_ellipsis() {
        let answer = |message: &str| format!(r#"{{"errors":[{{"message":"{message}"}}]}}"#);
        let longest = "é".repeat(LONGEST_MESSAGE);
        assert_eq!(message_of(&answer(&longest)), longest);
        assert_eq!(
            message_of(&answer(&format!("{longest}é"))),
            format!("{longest}...")
        );
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
        let other_name = hint(CertificateError::NotValidForName.into());
        assert_eq!(other_name, "name registry.example as its certificate does");
        let no_tls = hint(InvalidMessage::InvalidContentType.into());
        assert!(no_tls.ends_with("add --plain-http"), "{no_tls}");
        let refused = hint_for_connection(
            &io::Error::from(io::ErrorKind::ConnectionRefused),
            "registry.example",
        );
        assert_eq!(refused, "check that registry.example can be reached");
    }
}
