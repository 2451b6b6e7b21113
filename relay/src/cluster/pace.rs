//! How often the API server is asked to tell of changes.

use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The least time between the beginnings of two watches.
const BETWEEN_WATCHES: Duration = Duration::from_millis(200);

/// Ticks at once where the watch before lasted for a while. Proxies, and API servers under load, may end each watch as
/// soon as it begins: then it holds the next one back.
pub(super) fn of_watches() -> Interval {
    let mut pace = interval(BETWEEN_WATCHES);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}
