//! One timer for everybody who waits for a moment.
//!
//! A timer of one's own that runs out before all others has to wake the runtime's reactor, a system call and an
//! event for each. Here the first who waits starts a beat that goes on for as long as anybody does.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::Notify;

/// The beat.
pub(crate) struct Ticker {
    period: Duration,
    beats: Cell<u64>,
    waiting: Cell<usize>,
    beat: Notify,
    started: Notify,
}

impl Ticker {
    /// A ticker whose waits last between one `period` and two.
    pub(crate) fn new(period: Duration) -> Self {
        Self {
            period,
            beats: Cell::new(0),
            waiting: Cell::new(0),
            beat: Notify::new(),
            started: Notify::new(),
        }
    }

    /// Waits at least one period and at most two.
    pub(crate) async fn wait(&self) {
        let _waiting = Waiting::new(self);
        let enough = self.beats.get() + 2;
        while self.beats.get() < enough {
            self.beat.notified().await;
        }
    }

    /// Beats for as long as the session lives.
    pub(crate) async fn run(&self) -> Infallible {
        loop {
            while self.waiting.get() == 0 {
                self.started.notified().await;
            }
            tokio::time::sleep(self.period).await;
            self.beats.set(self.beats.get() + 1);
            self.beat.notify_waiters();
        }
    }
}

/// Counts one who waits, for as long as it lives.
struct Waiting<'a>(&'a Ticker);

impl<'a> Waiting<'a> {
    fn new(ticker: &'a Ticker) -> Self {
        let waiting = ticker.waiting.get();
        ticker.waiting.set(waiting + 1);
        if waiting == 0 {
            ticker.started.notify_one();
        }
        Self(ticker)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_wait_lasts_between_one_period_and_two() {
        let period = Duration::from_millis(10);
        let ticker = Ticker::new(period);
        tokio::select! {
            ended = ticker.run() => match ended {},
            () = async {
                for pause in [0, 3, 9, 25] {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    let start = Instant::now();
                    ticker.wait().await;
                    assert!((period..=2 * period).contains(&start.elapsed()), "{:?}", start.elapsed());
                }
            } => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ticker_without_waiters_does_not_tick() {
        let ticker = Ticker::new(Duration::from_millis(10));
        tokio::select! {
            ended = ticker.run() => match ended {},
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
        assert_eq!(ticker.beats.get(), 0);
    }
}
