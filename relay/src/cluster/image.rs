//! The agent's image by its digest.
//!
//! A tag can be moved while a session runs. So what the first agent was made of is what later ones are made of: the
//! node says by which digest it pulled the image.

/// The reference by digest of the image that was asked for, if the node reported one under which it can be pulled.
///
/// An image that was loaded into the node has none: it is reported as a bare `sha256:...`, or under a name that the
/// tool that loaded it made up.
pub(super) fn pinned(asked: &str, reported: &str) -> Option<String> {
    // as dockershim's successor writes it
    let reported = reported.strip_prefix("docker-pullable://").unwrap_or(reported);
    let (name, digest) = reported.split_once('@')?;
    let hex = digest.strip_prefix("sha256:")?;
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let repository = repository(asked);
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

/// The repository with what may be left out of it.
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
        for (asked, reported, pinned_to) in [
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
                pinned(asked, &format!("{reported}@{DIGEST}")),
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
