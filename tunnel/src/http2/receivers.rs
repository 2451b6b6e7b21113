//! The directions of a tunnel's streams in which this end receives.
//!
//! h2 tells the other end of room in a stream's window when bytes are read, and not before that room is half of what the other
//! end knows of. When all windows are lowered, the other end may be left with nothing while this end has room, and nothing is
//! read that would tell it: both would wait for each other. So whoever lowers windows has every stream looked at again.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use h2::{FlowControl, RecvStream};
use parking_lot::Mutex;

/// Those of one tunnel.
#[derive(Clone, Default)]
pub(crate) struct Receivers(Arc<Mutex<HashMap<u32, FlowControl>>>);

/// One of them, for as long as its stream is used.
pub(crate) struct Receiver {
    all: Receivers,
    stream: u32,
}

impl Receivers {
    /// Adds one.
    pub(super) fn enlist(&self, recv: &mut RecvStream) -> Receiver {
        let stream = recv.stream_id().as_u32();
        self.0.lock().insert(stream, recv.flow_control().clone());
        Receiver {
            all: self.clone(),
            stream,
        }
    }

    /// Tells the other end of the room in every window that it has to know of.
    pub(super) fn tell_room(&self) {
        for flow in self.0.lock().values_mut() {
            // to give nothing back has h2 look; a stream that is gone needs no room
            let _gone = flow.release_capacity(0).is_err();
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // the stream may end with this handle, which is h2's business and not to be waited for under the lock
        let flow = self.all.0.lock().remove(&self.stream);
        drop(flow);
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.stream).finish()
    }
}
