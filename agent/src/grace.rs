//! Whether relays are there, and for how long none has been.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How many tunnels stand.
#[derive(Clone)]
pub(crate) struct Presence(watch::Sender<usize>);

/// One tunnel that stands, until it is dropped.
pub(crate) struct Present(watch::Sender<usize>);

impl Default for Presence {
    fn default() -> Self {
        Presence(watch::Sender::new(0))
    }
}

impl Presence {
    /// A tunnel begins.
    pub(crate) fn enter(&self) -> Present {
        self.0.send_modify(|count| *count += 1);
        Present(self.0.clone())
    }

    /// Waits until there has been no tunnel for the grace, from now on, and returns it. Without a grace it waits for
    /// ever.
    pub(crate) async fn absent_for(&self, grace: Option<Duration>) -> Duration {
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
    pub(crate) async fn gone(&self) {
        // `self` holds a sender, so the channel stays open.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Present {
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
    async fn without_a_relay_the_grace_runs_from_the_start() {
        let (presence, start) = (Presence::default(), Instant::now());
        presence.absent_for(Some(GRACE)).await;
        assert_eq!(start.elapsed().as_secs(), 120);
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_begins_again_when_the_last_relay_leaves() {
        let (presence, start) = (Presence::default(), Instant::now());
        let (first, second) = (presence.enter(), presence.enter());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(500)).await;
            drop(first);
            tokio::time::sleep(Duration::from_secs(500)).await;
            drop(second);
        });
        presence.absent_for(Some(GRACE)).await;
        assert_eq!(start.elapsed().as_secs(), 1120);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_grace_it_stays() {
        let presence = Presence::default();
        assert!(timeout(10 * GRACE, presence.absent_for(None)).await.is_err());
    }
}
