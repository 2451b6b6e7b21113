//! How requests to a registry are authorized: by a token, or by a user's name and password.
//!
//! A registry says in its first answer what it asks for. Many name a *token server*, which gives a token for the
//! credentials: for a password by the "Token Authentication Specification" of the distribution project, for an identity
//! token by its OAuth 2 form. docker does the same.
//!
//! The OCI client would ask for a token by itself, but it sends the password to whatever address the registry names,
//! also without TLS, and knows no identity tokens. So kinject asks, sends credentials only where TLS protects them, and
//! follows no redirect to another host.

use super::challenge::Challenge;
use super::docker::Credentials;
use super::failure::{log_in, message_of, refusal, report, tls_error};
use super::registry::{CONNECT_TIMEOUT, READ_TIMEOUT, USER_AGENT, is_loopback};
use http::header::{HeaderValue, LOCATION};
use kinject_protocol::session::Report;
use oci_client::Reference;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::Value;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// The largest answer of a token server that is read.
const LARGEST_ANSWER: usize = 1 << 20;

/// How many redirects are followed, all on one host.
const MAX_REDIRECTS: usize = 5;

/// The lifetime of a token whose server names none, and the shortest, by the specification.
const LIFETIME: Duration = Duration::from_secs(60);

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// With TLS.
    Https,
    /// Without, since the user says so.
    PlainHttp,
    /// Without, on this machine's loopback.
    PlainLoopback,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::PlainHttp | Self::PlainLoopback => "http",
        }
    }

    /// Whether credentials may go to a token server that a registry with this scheme names.
    fn allows(self, realm: &Url) -> bool {
        match (realm.scheme(), self) {
            ("https", _) | ("http", Self::PlainHttp) => true,
            ("http", Self::PlainLoopback) => realm.host_str().is_some_and(is_loopback),
            _ => false,
        }
    }
}

/// Why a registry did not say what it asks for.
pub(super) enum Unanswered {
    /// No TLS connection was established, for another reason than a certificate.
    NoTls(reqwest::Error),
    /// The connection failed otherwise.
    Broken(reqwest::Error),
    /// The registry's answer cannot be used.
    Refused(Report),
}

impl Unanswered {
    fn new(error: reqwest::Error) -> Self {
        match tls_error(&error) {
            None | Some(rustls::Error::InvalidMessage(_)) if error.is_connect() => Self::NoTls(error),
            _ => Self::Broken(error),
        }
    }

    pub(super) fn report(self, reference: &Reference) -> Report {
        match self {
            Self::NoTls(error) | Self::Broken(error) => report(reference, &error.into()),
            Self::Refused(report) => report,
        }
    }
}

/// What a request to the registry carries.
pub(super) enum Authorization {
    /// Nothing.
    NotNeeded,
    /// A token of the token server's.
    Token(String),
    /// The user's own name and password.
    Password { user: String, password: String },
}

/// Authorizes requests to one registry.
pub(super) struct Authorizer {
    http: Client,
    reference: Reference,
    scheme: Scheme,
    challenge: Challenge,
    credentials: Credentials,
    token: RefCell<Option<Token>>,
}

/// A token, and when to replace it.
struct Token {
    text: String,
    renewal: Instant,
}

impl Authorizer {
    /// Asks a registry what its requests have to carry.
    pub(super) async fn connect(
        reference: &Reference,
        scheme: Scheme,
        is_loopback: bool,
        credentials: Credentials,
    ) -> Result<Self, Unanswered> {
        let refuse = |why: String, hint: String| Unanswered::Refused(refusal(reference, &why, hint));
        let http = client(is_loopback).map_err(Unanswered::Broken)?;
        let registry = reference.resolve_registry();
        let answer = http
            .get(format!("{}://{registry}/v2/", scheme.name()))
            .send()
            .await
            .map_err(Unanswered::new)?;
        if let Some(location) = redirect(&answer) {
            return Err(refuse(
                format!("{registry} redirects to {location}"),
                "name that registry in the image's name".to_owned(),
            ));
        }
        let challenge = Challenge::parse(answer.headers()).map_err(|unknown| {
            refuse(
                format!("{registry} asks for a login that kinject does not know: {unknown}"),
                "write the image with `kinject agent image save`, and push it with another tool".to_owned(),
            )
        })?;
        if let Challenge::Token { realm, .. } = &challenge
            && !scheme.allows(realm)
        {
            let hint = match scheme {
                Scheme::PlainLoopback => {
                    "add --plain-http if you trust the network on the way there".to_owned()
                }
                _ => format!("ask who runs {registry} to name it with https"),
            };
            return Err(refuse(
                format!(
                    "{registry} names the token server {realm}, to which kinject sends no credentials without TLS"
                ),
                hint,
            ));
        }
        Ok(Self {
            http,
            reference: reference.clone(),
            scheme,
            challenge,
            credentials,
            token: RefCell::default(),
        })
    }

    /// How the registry is spoken to.
    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// What the next request has to carry. A token is replaced after half of its lifetime.
    pub(super) async fn authorization(&self) -> Result<Authorization, Report> {
        let (realm, service) = match (&self.challenge, &self.credentials) {
            (Challenge::Nothing, _) | (Challenge::Password, Credentials::Anonymous) => {
                return Ok(Authorization::NotNeeded);
            }
            (Challenge::Password, Credentials::Password { user, password }) => {
                return Ok(Authorization::Password {
                    user: user.clone(),
                    password: password.clone(),
                });
            }
            (Challenge::Password, Credentials::IdentityToken(_)) => {
                return Err(refusal(
                    &self.reference,
                    "the registry asks for a password, and docker's credentials for it are an identity token",
                    log_in(&self.reference),
                ));
            }
            (Challenge::Token { realm, service }, _) => (realm, service.as_deref()),
        };
        let now = Instant::now();
        let held = self.token.borrow().as_ref().and_then(|token| token.at(now));
        if let Some(text) = held {
            return Ok(Authorization::Token(text));
        }
        let token = self.request_token(realm, service).await?;
        let text = token.text.clone();
        self.token.replace(Some(token));
        Ok(Authorization::Token(text))
    }

    async fn request_token(&self, realm: &Url, service: Option<&str>) -> Result<Token, Report> {
        let server = realm.host_str().unwrap_or_default();
        let fail = |what: &str, hint: String| {
            refusal(
                &self.reference,
                &format!("the token server {server} {what}"),
                hint,
            )
        };
        let broken = |error: reqwest::Error| report(&self.reference, &error.into());
        let answer = self.token_request(realm, service).send().await.map_err(broken)?;
        if let Some(location) = redirect(&answer) {
            return Err(fail(
                &format!("redirects to {location}, to which kinject sends no credentials"),
                format!("ask who runs {}", self.reference.registry()),
            ));
        }
        let status = answer.status();
        let body = read(answer).await.map_err(broken)?;
        if !status.is_success() {
            let message = message_of(&String::from_utf8_lossy(&body));
            return Err(fail(
                &format!("answers {}: {message}", status.as_u16()),
                log_in(&self.reference),
            ));
        }
        Token::parse(&body, Instant::now()).ok_or_else(|| {
            fail(
                "gives no token that can be understood",
                format!("ask who runs {}", self.reference.registry()),
            )
        })
    }

    fn token_request(&self, realm: &Url, service: Option<&str>) -> RequestBuilder {
        let scope = format!("repository:{}:pull,push", self.reference.repository());
        let mut parameters = vec![("scope", scope.as_str())];
        parameters.extend(service.map(|service| ("service", service)));
        let get = |parameters: &[(&str, &str)]| {
            let mut url = realm.clone();
            url.query_pairs_mut().extend_pairs(parameters);
            self.http.get(url)
        };
        match &self.credentials {
            Credentials::Anonymous => get(&parameters),
            Credentials::Password { user, password } => {
                parameters.push(("account", user));
                get(&parameters).basic_auth(user, Some(password))
            }
            Credentials::IdentityToken(token) => {
                parameters.extend([
                    ("client_id", "kinject"),
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token),
                ]);
                self.http.post(realm.clone()).form(&parameters)
            }
        }
    }
}

impl Token {
    /// The token in a token server's answer, if one is there that a header can hold.
    fn parse(answer: &[u8], now: Instant) -> Option<Self> {
        let answer: Value = serde_json::from_slice(answer).ok()?;
        let text = |name: &str| answer[name].as_str().filter(|text| !text.is_empty());
        let text = text("access_token").or_else(|| text("token"))?;
        HeaderValue::from_str(text).ok()?;
        let lifetime = answer["expires_in"]
            .as_u64()
            .map_or(LIFETIME, Duration::from_secs)
            .max(LIFETIME);
        Some(Self {
            text: text.to_owned(),
            // the other half is for the requests that begin with it
            renewal: now.checked_add(lifetime / 2)?,
        })
    }

    fn at(&self, now: Instant) -> Option<String> {
        (now < self.renewal).then(|| self.text.clone())
    }
}

/// A client that leaves no host by a redirect, and the machine not at all where the registry is on loopback.
fn client(is_loopback: bool) -> reqwest::Result<Client> {
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(Policy::custom(|attempt| {
            let previous = attempt.previous();
            let is_same_host = previous
                .last()
                .is_some_and(|previous| previous.origin() == attempt.url().origin());
            match is_same_host && previous.len() <= MAX_REDIRECTS {
                true => attempt.follow(),
                false => attempt.stop(),
            }
        }));
    match is_loopback {
        true => builder.no_proxy(),
        false => builder,
    }
    .build()
}

/// Where an answer leads to instead, if it is a redirect that was not followed.
fn redirect(answer: &Response) -> Option<String> {
    let location = answer.headers().get(LOCATION)?;
    let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
    answer.status().is_redirection().then_some(location)
}

/// Reads an answer's body, or the beginning of a very long one.
async fn read(mut answer: Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() < LARGEST_ANSWER
        && let Some(chunk) = answer.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn token_server_without_tls_is_allowed_only_to_a_registry_without_it() {
        let plain = url("http://auth.example/token");
        let plain_loopback = url("http://127.0.0.1:5001/token");
        let secure = url("https://auth.example/token");
        let allowed = |scheme: Scheme| [&secure, &plain_loopback, &plain].map(|realm| scheme.allows(realm));
        assert_eq!(allowed(Scheme::Https), [true, false, false]);
        assert_eq!(allowed(Scheme::PlainLoopback), [true, true, false]);
        assert_eq!(allowed(Scheme::PlainHttp), [true, true, true]);
        assert!(!Scheme::PlainHttp.allows(&url("file:///token")));
    }

    #[test]
    fn token_is_replaced_after_half_of_its_lifetime() {
        let now = Instant::now();
        for (answer, seconds) in [
            (r#"{"token":"a"}"#, 30),
            (r#"{"token":"a","expires_in":1}"#, 30),
            (r#"{"token":"b","access_token":"a","expires_in":300}"#, 150),
        ] {
            let token = Token::parse(answer.as_bytes(), now).unwrap();
            assert_eq!(token.at(now).as_deref(), Some("a"), "{answer}");
            assert_eq!(token.renewal, now + Duration::from_secs(seconds), "{answer}");
            assert_eq!(token.at(token.renewal), None, "{answer}");
        }
        for answer in [
            "",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":"a\nb"}"#,
            r#"{"token":1}"#,
        ] {
            assert!(Token::parse(answer.as_bytes(), now).is_none(), "{answer}");
        }
    }
}
