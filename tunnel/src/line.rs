//! Who sends much, one after the other.
//!
//! All connections of a tunnel leave by one line. Who has much to send waits for a place in it, and there are [`PLACES`].
//! A place is free again when the transport has taken its block, or everything that can be sent: a block whose stream has
//! no window any more keeps nobody waiting. So the large blocks that are on their way at once are few: they stay in the
//! processor's cache, and take fewer system calls for the same bytes. A connection with a few bytes to say needs no place.
//!
//! Blocks become smaller while the transport takes long for what stands in the line, and larger while it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

use crate::http2::FRAME_BYTES;

/// Large blocks at once.
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
    /// Places that are filled, of those that were since the transport had last taken everything.
    filled: AtomicUsize,
    /// How often it had.
    emptied: AtomicUsize,
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
pub(crate) struct Place {
    line: Line,
    /// None in the line of a tunnel that is gone.
    permit: Option<OwnedSemaphorePermit>,
}

/// A place with a block in it. It is dropped with the block.
#[derive(Debug)]
pub(crate) struct Filled {
    line: Line,
    emptied: usize,
}

/// The end of the line, where the transport takes what stands in it.
pub(crate) struct Outlet {
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
        let line = &self.line;
        self.places.poll_acquire(cx).map(|permit| Place {
            line: line.clone(),
            permit,
        })
    }

    /// Waits no longer.
    pub(crate) fn leave(&mut self) {
        *self = self.line.turn();
    }

    /// Bytes that may stand in a place.
    pub(crate) fn block(&self) -> usize {
        self.line.0.block.load(Ordering::Relaxed)
    }
}

impl Place {
    /// A block is put there, and given to HTTP/2.
    pub(crate) fn fill(self) -> Option<Filled> {
        let inner = &self.line.0;
        self.permit?.forget();
        inner.filled.fetch_add(1, Ordering::Relaxed);
        Some(Filled {
            emptied: inner.emptied.load(Ordering::Relaxed),
            line: self.line,
        })
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let inner = &self.line.0;
        // Else it has been given back with all others.
        if inner.emptied.load(Ordering::Relaxed) == self.emptied {
            inner.filled.fetch_sub(1, Ordering::Relaxed);
            inner.places.add_permits(1);
        }
    }
}

impl Outlet {
    pub(crate) fn new() -> Self {
        Self {
            line: Line(Arc::new(Inner {
                places: Arc::new(Semaphore::new(PLACES)),
                filled: AtomicUsize::new(0),
                emptied: AtomicUsize::new(0),
                block: AtomicUsize::new(LARGEST),
            })),
            waits_since: None,
        }
    }

    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    /// To be called after each poll of the connection, with whether the transport has taken everything.
    pub(crate) fn serve(&mut self, everything: bool) {
        self.serve_at(everything, Instant::now);
    }

    fn serve_at(&mut self, everything: bool, now: impl FnOnce() -> Instant) {
        if !everything {
            self.waits_since.get_or_insert_with(now);
            return;
        }
        let Inner {
            places,
            filled,
            emptied,
            block,
        } = &*self.line.0;
        let given_back = filled.swap(0, Ordering::Relaxed);
        if given_back > 0 {
            emptied.fetch_add(1, Ordering::Relaxed);
            places.add_permits(given_back);
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
    fn who_has_much_to_send_waits_until_a_block_is_taken() {
        let outlet = Outlet::new();
        let mut turns = [(); 4].map(|()| outlet.line().turn());
        let [first, second, third, fourth] = &mut turns;
        let blocks = [first, second].map(|turn| place(turn).and_then(Place::fill).unwrap());
        assert!(place(third).is_none() && place(fourth).is_none());
        drop(blocks);
        let next = place(third).and_then(Place::fill).unwrap();
        drop(place(fourth).unwrap());
        drop(next);
    }

    #[test]
    fn a_block_that_nothing_but_its_stream_holds_back_keeps_nobody_waiting() {
        let mut outlet = Outlet::new();
        let mut turns = [(); 5].map(|()| outlet.line().turn());
        // Fills every place that there is, and tells whose those were.
        let mut filled = || -> (Vec<usize>, Vec<Filled>) {
            let places = turns.iter_mut().map(place).enumerate();
            places
                .filter_map(|(at, place)| Some((at, place?.fill()?)))
                .unzip()
        };
        let (whose, stuck) = filled();
        assert_eq!(whose, [0, 1]);
        outlet.serve(false);
        assert!(filled().0.is_empty(), "the transport has left something");
        outlet.serve(true);
        let (whose, next) = filled();
        assert_eq!(whose, [2, 3], "who waits for longest");
        drop(stuck);
        assert!(filled().0.is_empty(), "no more places come of it");
        drop(next);
        assert_eq!(filled().0, [0, 4], "who came again after the last one");
    }

    #[test]
    fn a_place_that_is_not_filled_goes_to_the_next_and_no_more_places_come_of_it() {
        let mut outlet = Outlet::new();
        let mut turns = [(); 4].map(|()| outlet.line().turn());
        let [first, second, third, fourth] = &mut turns;
        let unused = place(first).unwrap();
        let block = place(second).and_then(Place::fill).unwrap();
        assert!(place(third).is_none());
        outlet.serve(true);
        drop(block);
        drop(unused);
        let _both = (place(third).unwrap(), place(first).unwrap());
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
