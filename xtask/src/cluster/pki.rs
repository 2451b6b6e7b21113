//! The cluster's keys: an authority, a leaf for each server and each client, and the key that signs service
//! accounts' tokens.
//!
//! Leaves are never their own authority, which rustls would refuse. Authorisation is by the names in the
//! clients' certificates, as kubeadm has them, so RBAC means the same as on other clusters.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::config::{API_SERVER, NODE_ADDRESS, NODE_NAME};
use super::state::State;

/// A client of the API server: its kubeconfig's name, its user, its group.
const CLIENTS: &[(&str, &str, &str)] = &[
    ("admin", "kubernetes-admin", "system:masters"),
    // Not system:kube-controller-manager, whose rights suffice only with an account for each controller,
    // which takes seconds to set up.
    ("controllers", "kinject-controllers", "system:masters"),
    ("kubelet", "system:node:kinject-node", "system:nodes"),
    ("proxy", "system:kube-proxy", "system:node-proxier"),
    ("scheduler", "system:kube-scheduler", ""),
];

/// Writes all keys under `pki`, and a kubeconfig for each client.
pub(crate) fn write(state: &State) -> Result<()> {
    let (authority_params, authority_key) = (authority()?, KeyPair::generate()?);
    let authority_pem = authority_params.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority_params, authority_key);
    state.write("pki/ca.crt", &authority_pem)?;

    let tokens = KeyPair::generate()?;
    state.write_secret("pki/tokens.key", &tokens.serialize_pem())?;
    state.write("pki/tokens.pub", &tokens.public_key_pem())?;

    let api_names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        NODE_ADDRESS,
        "10.96.0.1",
        "127.0.0.1",
    ];
    let leaf = Leaf::server("kube-apiserver", &api_names)?.signed(&issuer)?;
    leaf.write(state, "api-server")?;
    Leaf::server(NODE_NAME, &[NODE_NAME, NODE_ADDRESS])?
        .signed(&issuer)?
        .write(state, "kubelet-server")?;
    Leaf::client("kube-apiserver", "system:masters")?
        .signed(&issuer)?
        .write(state, "api-server-to-kubelet")?;

    for (name, user, group) in CLIENTS {
        let signed = Leaf::client(user, group)?.signed(&issuer)?;
        state.write_secret(
            &State::kubeconfig_name(name),
            &kubeconfig(&authority_pem, user, &signed),
        )?;
    }
    state.give_to_caller(&state.kubeconfig())
}

fn authority() -> Result<CertificateParams> {
    let mut params = CertificateParams::new([])?;
    params
        .distinguished_name
        .push(DnType::CommonName, "kinject-cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// A certificate that is not signed yet.
struct Leaf(CertificateParams);

impl Leaf {
    fn server(name: &str, addresses: &[&str]) -> Result<Self> {
        let names = addresses
            .iter()
            .map(|address| (*address).to_owned())
            .collect::<Vec<_>>();
        Self::new(name, "", names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(user: &str, group: &str) -> Result<Self> {
        Self::new(user, group, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn new(name: &str, group: &str, names: Vec<String>, usage: ExtendedKeyUsagePurpose) -> Result<Self> {
        let mut params = CertificateParams::new(names)?;
        if !group.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        Ok(Self(params))
    }

    fn signed(self, issuer: &Issuer<'_, KeyPair>) -> Result<Signed> {
        let key = KeyPair::generate()?;
        Ok(Signed {
            certificate: self.0.signed_by(&key, issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// A certificate with its private key, both PEM.
struct Signed {
    certificate: String,
    key: String,
}

impl Signed {
    fn write(&self, state: &State, name: &str) -> Result<()> {
        state.write(&format!("pki/{name}.crt"), &self.certificate)?;
        state.write_secret(&format!("pki/{name}.key"), &self.key)?;
        Ok(())
    }
}

fn kubeconfig(authority: &str, user: &str, signed: &Signed) -> String {
    let (authority, certificate, key) = (
        BASE64.encode(authority),
        BASE64.encode(&signed.certificate),
        BASE64.encode(&signed.key),
    );
    format!(
        "\
apiVersion: v1
kind: Config
clusters:
- name: kinject-test
  cluster:
    server: {API_SERVER}
    certificate-authority-data: {authority}
users:
- name: \"{user}\"
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: kinject-test
  context:
    cluster: kinject-test
    user: \"{user}\"
    namespace: default
current-context: kinject-test
"
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::state::tests::temporary;
    use super::*;

    #[test]
    fn private_keys_are_readable_by_root_only() {
        let (state, _folder) = temporary();
        write(&state).unwrap();
        let readable = Command::new("grep")
            .args([
                "--recursive",
                "--files-with-matches",
                "-e",
                "PRIVATE KEY",
                "-e",
                "client-key-data",
            ])
            .arg(state.folder())
            .output()
            .unwrap();
        let files = String::from_utf8(readable.stdout).unwrap();
        assert!(files.lines().count() >= 4 + CLIENTS.len(), "{files}");
        for file in files.lines() {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
            assert_eq!(mode & 0o077, 0, "{file}");
        }
    }

    #[test]
    fn kubeconfig_holds_the_ca_and_the_clients_key_pair() {
        let signed = Signed {
            certificate: "certificate".to_owned(),
            key: "key".to_owned(),
        };
        let text = kubeconfig("authority", "system:node:one", &signed);
        for (field, value) in [
            ("certificate-authority-data", "authority"),
            ("client-certificate-data", "certificate"),
            ("client-key-data", "key"),
        ] {
            assert!(
                text.contains(&format!("{field}: {}\n", BASE64.encode(value))),
                "{text}"
            );
        }
    }
}
