//! What a registry asks for in its first answer.

use http::header::{HeaderMap, WWW_AUTHENTICATE};
use http_auth::parser::ChallengeParser;
use reqwest::Url;

/// The scheme of a name and a password (RFC 7617).
const BASIC: &str = "Basic";

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Nothing.
    Nothing,
    /// A name and a password in each request.
    Password,
    /// A token of the server at `realm`, for the service of this name.
    Token { realm: Url, service: Option<String> },
}

impl Challenge {
    /// Reads the challenges in an answer (RFC 9110, section 11.6.1). One for a token counts first. The error is what
    /// stands there instead of a known one.
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, String> {
        let mut unknown = None;
        let mut takes_password = false;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let text = String::from_utf8_lossy(value.as_bytes());
            for challenge in ChallengeParser::new(&text).map_while(Result::ok) {
                let parameter = |name: &str| {
                    let mut parameters = challenge.params.iter();
                    let found = parameters.find(|(known, _)| known.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                let realm = parameter("realm").and_then(|realm| Url::parse(&realm).ok());
                match realm.filter(|_| challenge.scheme.eq_ignore_ascii_case("Bearer")) {
                    Some(realm) => {
                        return Ok(Self::Token {
                            realm,
                            service: parameter("service"),
                        });
                    }
                    None => takes_password |= challenge.scheme.eq_ignore_ascii_case(BASIC),
                }
            }
            // some servers do not quote their realm
            takes_password |= text
                .get(..BASIC.len())
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case(BASIC));
            unknown.get_or_insert(text.into_owned());
        }
        match (takes_password, unknown) {
            (true, _) => Ok(Self::Password),
            (false, Some(unknown)) => Err(unknown),
            (false, None) => Ok(Self::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Result<Challenge, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::parse(&headers)
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn challenge_for_a_token_counts_before_one_for_a_password() {
        let token = Ok(Challenge::Token {
            realm: url("https://auth.example/token"),
            service: Some("registry".to_owned()),
        });
        let bearer = r#"Bearer realm="https://auth.example/token",service="registry""#;
        assert_eq!(challenge(&[bearer]), token);
        assert_eq!(challenge(&[r#"Basic realm="x""#, bearer]), token);
        assert_eq!(challenge(&[&format!(r#"basic realm="x", {bearer}"#)]), token);
        assert_eq!(challenge(&[r#"Basic realm="x""#]), Ok(Challenge::Password));
        assert_eq!(challenge(&["Basic realm=two words"]), Ok(Challenge::Password));
        assert_eq!(challenge(&[]), Ok(Challenge::Nothing));
        for unknown in ["Negotiate", r#"Bearer realm="nowhere""#, "Bearer", "\"", ""] {
            assert_eq!(challenge(&[unknown]), Err(unknown.to_owned()));
        }
    }
}
