//! The agent's image by its digest.
//!
//! A tag can be moved while a session runs. So later agents use the digest of the first one's image, which the node
//! reports in the status of the pod.

/// The requested image by its digest, if the node reported one by which it can be pulled.
///
/// An image that was loaded into the node has none: it is reported as a bare `sha256:...`, or under a name that the
/// loading tool chose.
pub(super) fn pinned(requested: &str, reported: &str) -> Option<String> {
    // cri-dockerd writes this prefix
    let reported = reported.strip_prefix("docker-pullable://").unwrap_or(reported);
    let (name, digest) = reported.split_once('@')?;
    let hex = digest.strip_prefix("sha256:")?;
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let repository = repository(requested);
    (qualified(repository) == qualified(name)).then(|| format!("{repository}@{digest}"))
}

/// The reference without its tag and digest.
fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[path..].find(':') {
        Some(colon) => &name[..path + colon],
        None => name,
    }
}

/// The repository with the registry and the namespace that a reference may omit.
fn qualified(repository: &str) -> String {
    match repository.split_once('/') {
        Some((registry, _)) if registry.contains(['.', ':']) || registry == "localhost" => {
            repository.to_owned()
        }
        Some(_) => format!("docker.io/{repository}"),
        None => format!("docker.io/library/{repository}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn pulled_image_is_pinned_by_its_digest() {
        for (requested, reported, pinned_to) in [
            (
                "kinject-agent:1",
                "docker.io/library/kinject-agent",
                "kinject-agent",
            ),
            ("team/agent", "docker.io/team/agent", "team/agent"),
            (
                "registry:5000/agent:1",
                "registry:5000/agent",
                "registry:5000/agent",
            ),
            ("ghcr.io/a/b:1", "docker-pullable://ghcr.io/a/b", "ghcr.io/a/b"),
        ] {
            assert_eq!(
                pinned(requested, &format!("{reported}@{DIGEST}")),
                Some(format!("{pinned_to}@{DIGEST}"))
            );
        }
        let by_digest = format!("ghcr.io/a/b@{DIGEST}");
        assert_eq!(pinned(&by_digest, &by_digest), Some(by_digest.clone()));
    }

    #[test]
    fn image_not_pullable_by_the_reported_digest_keeps_its_tag() {
        for reported in [
            "",
            DIGEST,
            "docker.io/library/kinject-agent:1",
            "docker.io/library/kinject-agent@sha256:short",
            "docker.io/library/kinject-agent@sha512:0123",
            &format!("docker.io/library/import-2026-01-01@{DIGEST}"),
            &format!("mirror.example/kinject-agent@{DIGEST}"),
        ] {
            assert_eq!(pinned("kinject-agent:1", reported), None, "{reported}");
        }
    }
}
