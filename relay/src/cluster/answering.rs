//! Requests to the API server while a user waits: he is told whom for.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// How long a request may take without a word. Most are answered within some hundredths of a second.
const WITHOUT_A_WORD: Duration = Duration::from_secs(1);

/// Waits for the answer to a request, and says so where it takes long.
pub(super) async fn awaited<T>(
    server: &str,
    mut progress: impl FnMut(&str),
    answer: impl Future<Output = T>,
) -> T {
    let mut answer = pin!(answer);
    match tokio::time::timeout(WITHOUT_A_WORD, &mut answer).await {
        Ok(answer) => answer,
        Err(_) => {
            progress(&format!("waiting for an answer of the API server at {server}"));
            answer.await
        }
    }
}
