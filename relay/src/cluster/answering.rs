//! Requests to the API server while a user waits: the user is notified of slow ones.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// How long a request may take before the user is notified. Most are answered within some hundredths of a second.
const NOTICE_DELAY: Duration = Duration::from_secs(1);

/// Waits for the answer to a request, and reports progress if it takes longer than [`NOTICE_DELAY`].
pub(super) async fn awaited<T>(
    server: &str,
    mut progress: impl FnMut(&str),
    answer: impl Future<Output = T>,
) -> T {
    let mut answer = pin!(answer);
    match tokio::time::timeout(NOTICE_DELAY, &mut answer).await {
        Ok(answer) => answer,
        Err(_) => {
            progress(&format!("waiting for an answer of the API server at {server}"));
            answer.await
        }
    }
}
