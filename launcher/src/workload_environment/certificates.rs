//! Variables by which a workload's image names the certificates to trust.
//!
//! The files that they name may be nowhere on this machine, and then each TLS connection of a program that reads them
//! fails. Such a variable is left out: the program trusts what this machine trusts.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Variables that name a file or a folder of certificates.
const ONE: [&str; 14] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "PERL_LWP_SSL_CA_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

/// Variables that name folders of them, with colons between.
const SEVERAL: [&str; 2] = ["GIT_SSL_CAPATH", "SSL_CERT_DIR"];

/// Those of a workload's variables that name certificates none of which is there for the program.
pub(crate) fn missing(
    workload: &[(OsString, OsString)],
    is_there: impl Fn(&Path) -> bool,
) -> Vec<&(OsString, OsString)> {
    let is_missing = |(name, value): &&(OsString, OsString)| {
        let one_of = |names: &[&str]| names.iter().any(|known| name == known);
        let mut paths: Vec<&OsStr> = match (one_of(&ONE), one_of(&SEVERAL)) {
            (true, _) => vec![value],
            (false, true) => value
                .as_bytes()
                .split(|byte| *byte == b':')
                .map(OsStr::from_bytes)
                .collect(),
            (false, false) => Vec::new(),
        };
        paths.retain(|path| !path.is_empty());
        !paths.is_empty() && !paths.iter().any(|path| is_there(Path::new(path)))
    };
    workload.iter().filter(is_missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_is_missing_only_if_none_of_its_certificates_is_there() {
        let variables: Vec<(OsString, OsString)> = [
            ("SSL_CERT_FILE", "/there/ca.pem"),
            ("REQUESTS_CA_BUNDLE", "/gone/ca.pem"),
            ("CURL_CA_BUNDLE", ""),
            ("SSL_CERT_DIR", "/gone:/there"),
            ("GIT_SSL_CAPATH", "/gone:/gone/too"),
            ("CONFIG_FILE", "/gone/app.yaml"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        let names: Vec<_> = missing(&variables, |path| path.starts_with("/there"))
            .into_iter()
            .map(|(name, _)| name.as_os_str())
            .collect();
        assert_eq!(names, ["REQUESTS_CA_BUNDLE", "GIT_SSL_CAPATH"]);
    }
}
