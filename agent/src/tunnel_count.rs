//! Counts open tunnels, and waits until there has been none for the grace period.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// The number of open tunnels; clones share it.
#[derive(Clone)]
pub(crate) struct TunnelCount(watch::Sender<usize>);

/// Counts one tunnel until it is dropped.
pub(crate) struct CountGuard(watch::Sender<usize>);

impl Default for TunnelCount {
    fn default() -> Self {
        TunnelCount(watch::Sender::new(0))
    }
}

impl TunnelCount {
    /// Counts a tunnel.
    pub(crate) fn increment(&self) -> CountGuard {
        self.0.send_modify(|count| *count += 1);
        CountGuard(self.0.clone())
    }

    /// Waits until there has been no tunnel for the whole grace period, which it returns. Without one it waits for
    /// ever.
    pub(crate) async fn idle_for(&self, grace: Option<Duration>) -> Duration {
        let Some(grace) = grace else {
            return std::future::pending().await;
        };
        let mut count = self.0.subscribe();
        loop {
            if timeout(grace, count.wait_for(|count| *count > 0)).await.is_err() {
                return grace;
            }
            // `self` holds a sender, so the channel stays open.
            let _ = count.wait_for(|count| *count == 0).await;
        }
    }

    /// Waits until there is no tunnel.
    pub(crate) async fn wait_for_zero(&self) {
        // `self` holds a sender, so the channel stays open.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const GRACE: Duration = Duration::from_secs(120);

    #[tokio::test(start_paused = true)]
    async fn grace_period_runs_from_the_start_without_a_tunnel() {
        let (tunnels, start) = (TunnelCount::default(), Instant::now());
        tunnels.idle_for(Some(GRACE)).await;
        assert_eq!(start.elapsed().as_secs(), 120);
    }

    #[tokio::test(start_paused = true)]
    async fn grace_period_restarts_when_the_last_tunnel_closes() {
        let (tunnels, start) = (TunnelCount::default(), Instant::now());
        let (first, second) = (tunnels.increment(), tunnels.increment());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(500)).await;
            drop(first);
            tokio::time::sleep(Duration::from_secs(500)).await;
            drop(second);
        });
        tunnels.idle_for(Some(GRACE)).await;
        assert_eq!(start.elapsed().as_secs(), 1120);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_for_never_returns_without_a_grace_period() {
        let tunnels = TunnelCount::default();
        assert!(timeout(10 * GRACE, tunnels.idle_for(None)).await.is_err());
    }
}
