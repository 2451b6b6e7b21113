//! Certificates of a test's own servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use kinject_tests::running::run;

/// A server's own certificate, which no authority has signed, with its key.
pub(crate) struct CertificateFiles {
    key: PathBuf,
    pub(crate) certificate: PathBuf,
}

impl CertificateFiles {
    /// How the configuration of a registry names it.
    pub(crate) fn section(&self) -> String {
        format!(
            "  tls:\n    certificate: {}\n    key: {}\n",
            self.certificate.display(),
            self.key.display()
        )
    }
}

/// Makes a certificate for an address.
pub(crate) fn certificate(folder: &Path, address: &str) -> CertificateFiles {
    let files = CertificateFiles {
        key: folder.join("key.pem"),
        certificate: folder.join("certificate.pem"),
    };
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=test"])
        .args(["-addext", &format!("subjectAltName=IP:{address}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&files.key)
        .arg("-out")
        .arg(&files.certificate))
    .succeeded();
    files
}
