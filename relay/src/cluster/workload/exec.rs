//! The environment of a container's first process, read through exec: what an entry point exports is in no template.
//!
//! `cat /proc/1/environ` is run in the container, which takes a program of that name there. The kernel shows the memory
//! in which the process got its environment: one that writes its title there (nginx, PostgreSQL) has overwritten it.

use super::find::PodsOf;
use super::replicas;
use crate::cluster::access::{Access, innermost};
use futures::future::join3;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// The file that is read.
const ENVIRON: &str = "/proc/1/environ";

/// Time limit for all of it.
const EXEC_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest environment that is read.
const MAX_LENGTH: u64 = 8 << 20;

/// How much of an error is read.
const MAX_ERROR: u64 = 1000;

/// Room for what is on the way.
const BUFFER: usize = 64 << 10;

/// Names and values.
pub(in crate::cluster) type Environment = Vec<(OsString, OsString)>;

/// Reads the environment of the first process of a container, in a running pod of the workload. The error completes
/// "cannot read the environment of ...:".
pub(super) async fn environment(
    access: &Access,
    pods: Option<&PodsOf>,
    container: &str,
) -> Result<Environment, String> {
    let read = async {
        let pod = running_pod(access, pods, container).await?;
        let text = read(access, &pod, container).await?;
        parse(&text).ok_or_else(|| format!("pod {pod} has overwritten {ENVIRON}"))
    };
    timeout(EXEC_TIMEOUT, read)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", EXEC_TIMEOUT.as_secs())))
}

/// The name of a pod in which that container runs.
async fn running_pod(access: &Access, pods: Option<&PodsOf>, container: &str) -> Result<String, String> {
    let pods = pods.ok_or_else(|| "it has no pods of its own".to_owned())?;
    let mut pods = pods.list(access).await?.into_iter();
    let running = pods.find(|pod| replicas::running(pod, container).is_some());
    let pod = running.ok_or_else(|| format!("the container {container} runs in none of its pods"))?;
    let spec = pod.spec.unwrap_or_default();
    if spec.share_process_namespace == Some(true) || spec.host_pid == Some(true) {
        return Err("its containers share processes, so process 1 is another's".to_owned());
    }
    Ok(pod.metadata.name.unwrap_or_default())
}

async fn read(access: &Access, pod: &str, container: &str) -> Result<Vec<u8>, String> {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    let parameters = AttachParams::default()
        .container(container)
        .max_stdout_buf_size(BUFFER);
    let mut process = pods
        .exec(pod, ["cat", ENVIRON], &parameters)
        .await
        .map_err(|error| innermost(&error))?;
    let ended = process.take_status();
    let (Some(stdout), Some(stderr)) = (process.stdout(), process.stderr()) else {
        return Err("the process has no output".to_owned());
    };
    let ended = async {
        match ended {
            Some(ended) => ended.await,
            None => None,
        }
    };
    let (text, error, status) = join3(bounded(stdout, MAX_LENGTH), bounded(stderr, MAX_ERROR), ended).await;
    let error = String::from_utf8_lossy(&error?).trim().to_owned();
    match status {
        Some(status) if status.status.as_deref() == Some("Success") => {}
        Some(status) if error.is_empty() => return Err(status.message.unwrap_or_default()),
        Some(_) => return Err(error),
        None => return Err("the connection broke".to_owned()),
    }
    text
}

/// Reads to the end, which has to come within that length.
async fn bounded(stream: impl AsyncRead + Unpin, limit: u64) -> Result<Vec<u8>, String> {
    let mut read = Vec::new();
    let mut bounded = stream.take(limit);
    bounded
        .read_to_end(&mut read)
        .await
        .map_err(|error| error.to_string())?;
    match bounded.limit() {
        0 => Err(format!("it is longer than {limit} bytes")),
        _ => Ok(read),
    }
}

/// The variables of `NAME=VALUE` entries, of which each ends with a zero byte. None if there are none: every process
/// of a container has some. Of two with one name the first counts, as for getenv(3).
fn parse(text: &[u8]) -> Option<Environment> {
    let mut variables = Environment::new();
    for entry in text.split(|byte| *byte == 0) {
        let Some(equals) = entry.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (name, value) = (&entry[..equals], &entry[equals + 1..]);
        let name = OsString::from_vec(name.to_vec());
        if !name.is_empty() && variables.iter().all(|(known, _)| *known != name) {
            variables.push((name, OsString::from_vec(value.to_vec())));
        }
    }
    (!variables.is_empty()).then_some(variables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_api::{self, Answer};
    use serde_json::{Value, json};

    #[test]
    fn environ_is_parsed_with_any_bytes_and_the_first_of_two_values() {
        let parsed = parse(b"A=1\0B=x=y\nz\0=none\0A=2\0no equals\0C=\xff\0D=\0").unwrap();
        let expected: [(&str, &[u8]); 4] = [("A", b"1"), ("B", b"x=y\nz"), ("C", b"\xff"), ("D", b"")];
        let expected = expected.map(|(name, value)| (name.into(), OsString::from_vec(value.to_vec())));
        assert_eq!(parsed, expected);
    }

    #[test]
    fn overwritten_environ_is_none() {
        assert_eq!(parse(b"nginx: master process nginx -g daemon off;\0\0\0\0"), None);
        assert_eq!(parse(b""), None);
    }

    fn pod(spec: Value, state: Value) -> Value {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web-0" }, "spec": spec,
            "status": { "containerStatuses": [{
                "name": "app", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state,
            }] } })
    }

    async fn refused(pod: Value) -> String {
        let api = fake_api::always(Answer::object(pod));
        let pods = PodsOf::Name("web-0".to_owned());
        environment(&api.access(), Some(&pods), "app").await.unwrap_err()
    }

    #[tokio::test]
    async fn environment_of_a_container_that_does_not_run_or_shares_processes_is_not_read() {
        let waiting = pod(json!({ "containers": [] }), json!({ "waiting": {} }));
        assert!(refused(waiting).await.contains("runs in none of its pods"));
        let shared = pod(
            json!({ "containers": [], "shareProcessNamespace": true }),
            json!({ "running": {} }),
        );
        assert!(refused(shared).await.contains("share processes"));
    }

    #[tokio::test]
    async fn output_beyond_the_limit_is_an_error() {
        assert_eq!(bounded(&b"12345"[..], 6).await.unwrap(), b"12345");
        assert!(bounded(&b"123456"[..], 6).await.is_err());
    }
}
