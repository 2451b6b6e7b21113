//! The rate at which watches of the API server are opened.

use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The shortest time between the starts of two watches.
const MIN_WATCH_PERIOD: Duration = Duration::from_millis(200);

/// A ticker for the starts of watches. It ticks at once after a watch that lasted for [`MIN_WATCH_PERIOD`], and delays
/// the next one after a shorter watch: proxies, and API servers under load, may end each watch as soon as it starts.
pub(super) fn of_watches() -> Interval {
    let mut pace = interval(MIN_WATCH_PERIOD);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}
