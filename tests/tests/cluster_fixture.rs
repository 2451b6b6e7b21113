//! Properties of the real cluster that the other end-to-end tests rely on.
//!
//! Without a cluster there is nothing to test here; `cargo xtask cluster up` starts one.

use anyhow::Result;
use kinject_tests::cluster::{Cluster, Rule, SHELL_IMAGE};
use kinject_tests::testbed::cluster;

/// What a shell line prints in the network of the pod of `web`, and its exit status.
fn in_web(cluster: &Cluster, line: &str) -> Result<(String, Option<i32>)> {
    let web = cluster.pod_of("default", "app=web")?;
    let output = cluster.run_bare_in_pod("default", &web, &["bash", "-c", line])?;
    let printed =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((printed, output.status.code()))
}

#[test]
fn bare_program_has_the_network_of_the_pod() -> Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (printed, status) = in_web(
        &cluster,
        "curl --silent --show-error http://api/ && getent ahostsv4 db.default",
    )?;
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.starts_with("hello from api\n"), "{printed}");
    assert_eq!(printed.matches(" STREAM").count(), 3, "{printed}");
    Ok(())
}

#[test]
fn sample_targets_fail_with_their_expected_errors() -> Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    for (line, expected) in [
        ("exec 3<>/dev/tcp/10.96.10.9/80", "Connection refused"),
        ("exec 3<>/dev/tcp/198.51.100.1/80", "No route to host"),
        ("exec 3<>/dev/tcp/unroutable.external.test/80", "No route to host"),
        (
            "timeout 1 bash -c 'exec 3<>/dev/tcp/198.18.0.1/80'; echo status $?",
            "status 124",
        ),
        ("exec 3<>/dev/tcp/203.0.113.10/7005; cat <&3", "welcome"),
        ("exec 3<>/dev/tcp/database.external.test/7005; cat <&3", "welcome"),
        ("getent ahosts missing.external.test; echo status $?", "status 2"),
        ("getent ahosts empty.external.test; echo status $?", "status 2"),
    ] {
        let (printed, _) = in_web(&cluster, line)?;
        assert!(printed.contains(expected), "{line}: {printed}");
    }
    Ok(())
}

#[test]
fn restricted_user_has_only_the_granted_rights() -> Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let namespace = cluster.namespace("fixture", "restricted")?;
    let rules = [Rule {
        groups: &[""],
        resources: &["pods"],
        verbs: &["list"],
    }];
    let user = cluster.restricted_user(namespace.name(), "reader", &rules)?;
    let run = |arguments: &[&str]| cluster.kubectl_command_as(&user.path()).args(arguments).output();
    assert!(run(&["get", "pods"])?.status.success());
    let refused = run(&["get", "secrets"])?;
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("forbidden"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn pod_security_rejects_an_unrestricted_pod() -> Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let namespace = cluster.namespace("fixture", "restricted")?;
    let image = format!("--image={SHELL_IMAGE}");
    let refused = cluster
        .kubectl(&["--namespace", namespace.name(), "run", "root", &image])
        .unwrap_err();
    assert!(
        format!("{refused:#}").contains("violates PodSecurity \"restricted"),
        "{refused:#}"
    );
    Ok(())
}
