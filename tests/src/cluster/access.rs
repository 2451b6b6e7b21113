//! Users of the cluster with few rights, as kubeconfig files.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Cluster;

/// What a user may do: an RBAC rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// API groups; the core's is the empty one.
    pub groups: &'a [&'a str],
    /// Resources, subresources as in `pods/proxy`.
    pub resources: &'a [&'a str],
    /// Verbs, as in `get`.
    pub verbs: &'a [&'a str],
}

/// A kubeconfig file that is removed when the value is dropped.
#[derive(Debug)]
pub struct Kubeconfig {
    folder: TempDir,
}

impl Kubeconfig {
    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Writes the file as JSON, which is YAML too.
    fn write(config: &Value) -> Result<Self> {
        let kubeconfig = Self {
            folder: tempfile::tempdir()?,
        };
        let path = kubeconfig.path();
        fs::write(&path, serde_json::to_vec_pretty(config)?)
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(kubeconfig)
    }
}

impl Cluster {
    /// A user who may do only what the rules say, and only in that namespace, in which the user's account is
    /// made.
    pub fn restricted_user(&self, namespace: &str, name: &str, rules: &[Rule<'_>]) -> Result<Kubeconfig> {
        let metadata = json!({"name": name, "namespace": namespace});
        let rules = rules
            .iter()
            .map(|rule| json!({"apiGroups": rule.groups, "resources": rule.resources, "verbs": rule.verbs}));
        let items = json!([
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": metadata,
                "rules": rules.collect::<Vec<_>>(),
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            },
        ]);
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
        self.service_account(namespace, name)
    }

    /// A user who has a ClusterRole of Kubernetes' own, `view` or `edit`, in that namespace alone.
    pub fn user_with_role(&self, namespace: &str, role: &str) -> Result<Kubeconfig> {
        let metadata = json!({"name": role, "namespace": namespace});
        let items = json!([
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": role, "namespace": namespace}],
            },
        ]);
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
        self.service_account(namespace, role)
    }

    /// The user behind a service account that is there already, whose rights something else has granted.
    pub fn service_account(&self, namespace: &str, name: &str) -> Result<Kubeconfig> {
        let token = self.kubectl(&["--namespace", namespace, "create", "token", name])?;
        self.kubeconfig_with_token(namespace, token.trim())
    }

    /// The user behind a service account whose token has expired an hour ago.
    ///
    /// The API server issues no token that is valid for less than ten minutes, so this one is signed here with the
    /// cluster's own key for tokens: only its times are invalid.
    pub fn expired_service_account(&self, namespace: &str, name: &str) -> Result<Kubeconfig> {
        let token = self.kubectl(&["--namespace", namespace, "create", "token", name])?;
        let key =
            fs::read_to_string(self.folder.join("pki/tokens.key")).context("reading the key for tokens")?;
        self.kubeconfig_with_token(namespace, &expired(token.trim(), &key)?)
    }

    /// A kubeconfig with that bearer token, valid or not.
    pub fn kubeconfig_with_token(&self, namespace: &str, token: &str) -> Result<Kubeconfig> {
        let mut config = self.kubectl_json(&["config", "view", "--raw"])?;
        *field(&mut config, "/users/0/user")? = json!({"token": token});
        *field(&mut config, "/contexts/0/context/namespace")? = json!(namespace);
        Kubeconfig::write(&config)
    }

    /// The API server's address, HOST:PORT.
    pub fn api_server(&self) -> Result<String> {
        let config = self.kubectl_json(&["config", "view"])?;
        let server = config["clusters"][0]["cluster"]["server"].as_str();
        let address = server.and_then(|server| server.strip_prefix("https://"));
        Ok(address.context("the kubeconfig names no server")?.to_owned())
    }

    /// The administrator's kubeconfig for an API server that is reached at another address than its own, HOST:PORT.
    pub fn kubeconfig_through(&self, address: &str) -> Result<Kubeconfig> {
        let mut config = self.kubectl_json(&["config", "view", "--raw"])?;
        let cluster = field(&mut config, "/clusters/0/cluster")?;
        cluster["server"] = json!(format!("https://{address}"));
        // a name that the server's certificate has
        cluster["tls-server-name"] = json!("kubernetes");
        Kubeconfig::write(&config)
    }
}

/// The same JSON Web Token (RFC 7519, signed with ES256) with an expiry in the past.
fn expired(token: &str, key: &str) -> Result<String> {
    let mut parts = token.split('.');
    let (Some(header), Some(claims)) = (parts.next(), parts.next()) else {
        bail!("the cluster's token is no JSON Web Token");
    };
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    for time in ["iat", "nbf", "exp"] {
        let claim = claims[time].as_i64().context("the token has no times")?;
        // it is issued for an hour
        claims[time] = json!(claim - 2 * 60 * 60);
    }
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let encoded: String = key.lines().filter(|line| !line.starts_with("-----")).collect();
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &STANDARD.decode(encoded).context("the key for tokens is no PEM")?,
        &random,
    )
    .map_err(|error| anyhow!("the key for tokens is not as expected: {error}"))?;
    let signature = key
        .sign(&random, signed.as_bytes())
        .map_err(|_| anyhow!("the token cannot be signed"))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn field<'a>(config: &'a mut Value, pointer: &str) -> Result<&'a mut Value> {
    config
        .pointer_mut(pointer)
        .with_context(|| format!("the kubeconfig has no {pointer}"))
}
