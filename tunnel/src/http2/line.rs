//! Who sends much, one after the other.
//!
//! All connections of a tunnel leave by one line. Who has much to send waits for a place in it, and there are [`PLACES`]
//! until the transport has taken what stands there. So the blocks that are on their way at once are few, and may be large:
//! they stay in the processor's cache, and take fewer system calls for the same bytes. A connection with a few bytes to
//! say needs no place, and stands behind no more than those blocks.
//!
//! Blocks become smaller while the transport takes long for what stands in the line, and larger while it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

use super::FRAME_BYTES;

/// Blocks that are let in until the transport has taken them.
const PLACES: usize = 2;
/// Blocks become larger when the transport has taken what stands in the line within this time.
const SOON: Duration = Duration::from_millis(2);
/// Blocks become smaller when it takes longer.
const LATE: Duration = Duration::from_millis(10);
const SMALLEST: usize = 64 * 1024;
const LARGEST: usize = FRAME_BYTES as usize;

/// The line, as the connections see it.
#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Arc<Semaphore>,
    block: AtomicUsize,
}

/// Where one connection waits.
#[derive(Debug)]
pub(crate) struct Turn {
    line: Line,
    places: PollSemaphore,
}

/// A place in the line. Dropping it leaves it to the next one.
#[derive(Debug)]
pub(crate) struct Place(Option<OwnedSemaphorePermit>);

/// The end of the line, where the transport takes what stands in it.
pub(super) struct Outlet {
    line: Line,
    /// Since when the transport has left something.
    waits_since: Option<Instant>,
}

impl Line {
    pub(crate) fn turn(&self) -> Turn {
        Turn {
            line: self.clone(),
            places: PollSemaphore::new(Arc::clone(&self.0.places)),
        }
    }
}

impl Turn {
    /// Waits for a place, or for the end of the tunnel. Who has waited gets it, and should not be left unpolled then.
    pub(crate) fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<Place> {
        self.places.poll_acquire(cx).map(Place)
    }

    /// Bytes that may stand in a place.
    pub(crate) fn block(&self) -> usize {
        self.line.0.block.load(Ordering::Relaxed)
    }
}

impl Place {
    /// A block stands there now, given to HTTP/2: the place is free again when the transport has taken everything.
    pub(crate) fn fill(self) {
        if let Some(permit) = self.0 {
            permit.forget();
        }
    }
}

impl Outlet {
    pub(super) fn new() -> Self {
        Self {
            line: Line(Arc::new(Inner {
                places: Arc::new(Semaphore::new(PLACES)),
                block: AtomicUsize::new(LARGEST),
            })),
            waits_since: None,
        }
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// To be called after each poll of the connection, with whether the transport has taken everything.
    pub(super) fn serve(&mut self, everything: bool) {
        self.serve_at(everything, Instant::now);
    }

    fn serve_at(&mut self, everything: bool, now: impl FnOnce() -> Instant) {
        if !everything {
            self.waits_since.get_or_insert_with(now);
            return;
        }
        let Inner { places, block } = &*self.line.0;
        let free = places.available_permits();
        if free < PLACES {
            places.add_permits(PLACES - free);
        }
        if let Some(since) = self.waits_since.take() {
            let (size, took) = (block.load(Ordering::Relaxed), now() - since);
            let size = match () {
                () if took <= SOON => (size * 2).min(LARGEST),
                () if took > LATE => (size / 2).max(SMALLEST),
                () => size,
            };
            block.store(size, Ordering::Relaxed);
        }
    }
}

impl Drop for Outlet {
    /// Nobody waits in the line of a tunnel that is gone.
    fn drop(&mut self) {
        self.line.0.places.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn place(turn: &mut Turn) -> Option<Place> {
        match turn.poll_place(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_has_much_to_send_waits_until_what_stands_in_the_line_is_taken() {
        let mut outlet = Outlet::new();
        let mut turns = [(); 5].map(|()| outlet.line().turn());
        // Fills every place that there is, and tells whose those were.
        let mut filled = || -> Vec<usize> {
            let places = turns.iter_mut().map(place).enumerate();
            let places = places.filter_map(|(at, place)| Some((at, place?)));
            let (whose, places): (Vec<_>, Vec<_>) = places.unzip();
            places.into_iter().for_each(Place::fill);
            whose
        };
        assert_eq!(filled(), [0, 1]);
        outlet.serve(false);
        assert_eq!(filled(), [0; 0], "the transport has left something");
        outlet.serve(true);
        assert_eq!(filled(), [2, 3], "who waits for longest");
        outlet.serve(true);
        assert_eq!(filled(), [0, 4], "who came again after the last one");
    }

    #[test]
    fn a_place_that_is_not_filled_goes_to_the_next_and_no_more_places_come_of_it() {
        let mut outlet = Outlet::new();
        let mut turns = [(); 4].map(|()| outlet.line().turn());
        let [first, second, third, fourth] = &mut turns;
        let unused = place(first).unwrap();
        place(second).unwrap().fill();
        assert!(place(third).is_none());
        drop(unused);
        drop(place(third).unwrap());
        outlet.serve(true);
        let _both = (place(first).unwrap(), place(second).unwrap());
        assert!(place(fourth).is_none());
    }

    #[test]
    fn nobody_waits_in_the_line_of_a_tunnel_that_is_gone() {
        let outlet = Outlet::new();
        let mut turns = [(); PLACES + 1].map(|()| outlet.line().turn());
        let places: Vec<_> = turns.iter_mut().filter_map(place).collect();
        assert_eq!(places.len(), PLACES);
        drop(outlet);
        assert!(turns.iter_mut().all(|turn| place(turn).is_some()));
    }

    #[test]
    fn blocks_are_as_large_as_the_transport_takes_soon() {
        let mut outlet = Outlet::new();
        let turn = outlet.line().turn();
        let mut takes = |time: Duration| {
            let start = Instant::now();
            outlet.serve_at(false, || start);
            outlet.serve_at(false, || panic!("it knows since when"));
            outlet.serve_at(true, || start + time);
            outlet.serve_at(true, || panic!("nothing was left"));
            turn.block()
        };
        assert_eq!(takes(SOON), LARGEST, "to begin with");
        assert_eq!(takes(LATE), LARGEST);
        let late = LATE + Duration::from_micros(1);
        assert_eq!([takes(late), takes(late)], [LARGEST / 2, LARGEST / 4]);
        assert_eq!((0..10).map(|_| takes(late)).last(), Some(SMALLEST));
        assert_eq!([takes(LATE), takes(SOON)], [SMALLEST, 2 * SMALLEST]);
    }
}
