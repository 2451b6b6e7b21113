//! What a ready session is called: for the user, and for its programs.

use kinject_protocol::session::Ready;
use std::time::Duration;

/// The line that says that the session is ready.
pub(super) fn ready_message(ready: &Ready, took: Duration) -> String {
    let workload = ready.workload.as_ref().map_or_else(String::new, |found| {
        format!(
            ", in the place of {} (container {}, service account {}),",
            found.workload, found.container, found.service_account
        )
    });
    format!(
        "{}{workload} ready in {:.1} s ({})",
        place(ready),
        took.as_secs_f32(),
        transport(ready)
    )
}

/// Cluster and namespace.
fn place(ready: &Ready) -> String {
    match &ready.namespace {
        Some(namespace) => format!("{}/{namespace}", ready.cluster),
        None => ready.cluster.clone(),
    }
}

/// The transport to the agent, whether TLS is missing, and why it is not the pod proxy.
fn transport(ready: &Ready) -> String {
    let name = match ready.transport.as_str() {
        "proxy" => "pod proxy",
        other => other,
    };
    let tls = match (ready.transport.as_str(), ready.tls) {
        ("proxy", _) | ("direct", false) => "",
        (_, true) => ", TLS",
        (_, false) => ", no TLS inside",
    };
    let transport = format!("{name}{tls}");
    match &ready.not_by_proxy {
        Some(reason) => format!("{transport}; {reason}"),
        None => transport,
    }
}

/// The value of `KINJECT_TARGET`, which programs and prompts print: names from the kubeconfig and of the workload,
/// escaped to one line.
pub(super) fn target_name(ready: &Ready) -> String {
    kinject_escape::line(match &ready.workload {
        Some(found) => format!("{}/{}", place(ready), found.workload),
        None => place(ready),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinject_protocol::session::Confidential;
    use kinject_protocol::workload::Workload;

    #[test]
    fn control_characters_in_a_context_name_are_escaped_in_the_environment() {
        let ready = |cluster: &str, namespace: Option<&str>| Ready {
            cluster: cluster.into(),
            namespace: namespace.map(Into::into),
            transport: "proxy".into(),
            tls: true,
            not_by_proxy: None,
            socket: "/run/control.sock".into(),
            control: Confidential(String::new()),
            workload: None,
        };
        assert_eq!(
            target_name(&ready("kind-dev", Some("default"))),
            "kind-dev/default"
        );
        assert_eq!(target_name(&ready("unix:/a b", None)), "unix:/a b");
        // exec fails for a variable that holds a NUL byte
        let hostile = ready("dev\x1b]0;prod\x07\0", Some("a\nb"));
        assert_eq!(target_name(&hostile), r"dev\u{1b}]0;prod\u{7}\0/a\nb");
    }

    fn ready_message_of(transport: &str, tls: bool, not_by_proxy: Option<&str>) -> String {
        let ready = Ready {
            cluster: "dev".into(),
            namespace: Some("web".into()),
            transport: transport.into(),
            tls,
            not_by_proxy: not_by_proxy.map(str::to_owned),
            socket: "/run/control.sock".into(),
            control: Confidential(String::new()),
            workload: None,
        };
        ready_message(&ready, Duration::from_millis(1234))
    }

    #[test]
    fn ready_message_and_target_name_the_workload_with_its_container_and_account() {
        let ready = Ready {
            cluster: "dev".into(),
            namespace: Some("shop".into()),
            transport: "proxy".into(),
            tls: true,
            not_by_proxy: None,
            socket: "/run/control.sock".into(),
            control: Confidential(String::new()),
            workload: Some(Workload {
                workload: "deploy/web".parse().unwrap(),
                container: "app".into(),
                service_account: "reader".into(),
                account_rights: None,
                hostname: "pod".into(),
                environment: Vec::new(),
                paths: None,
            }),
        };
        assert_eq!(
            ready_message(&ready, Duration::from_millis(1234)),
            "dev/shop, in the place of deployment/web (container app, service account reader), \
             ready in 1.2 s (pod proxy)"
        );
        assert_eq!(target_name(&ready), "dev/shop/deployment/web");
    }

    #[test]
    fn ready_message_names_the_transport_and_missing_tls() {
        for (ready_message, transport) in [
            (
                ready_message_of("port-forward", false, Some("the pod proxy may not be used")),
                "port-forward, no TLS inside; the pod proxy may not be used",
            ),
            (ready_message_of("proxy", true, None), "pod proxy"),
            (ready_message_of("port-forward", true, None), "port-forward, TLS"),
            (
                ready_message_of("port-forward", false, None),
                "port-forward, no TLS inside",
            ),
            (ready_message_of("direct", true, None), "direct, TLS"),
            (ready_message_of("direct", false, None), "direct"),
        ] {
            assert_eq!(ready_message, format!("dev/web ready in 1.2 s ({transport})"));
        }
    }
}
