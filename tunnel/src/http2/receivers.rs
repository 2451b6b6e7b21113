//! The streams of a tunnel on which this end receives.
//!
//! h2 sends WINDOW_UPDATE for a stream when bytes are read, and only once the unannounced window is half of the
//! announced one. After all windows are lowered, the sender may have no window left although this end has some to
//! announce, and no read would announce it: a deadlock. So after windows were lowered, h2 is made to re-examine every
//! stream.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use h2::{FlowControl, RecvStream};
use parking_lot::Mutex;

/// The receiving streams of one tunnel.
#[derive(Clone, Default)]
pub(crate) struct Receivers(Arc<Mutex<HashMap<u32, FlowControl>>>);

/// The registration of one stream, for as long as the stream is used.
pub(crate) struct Receiver {
    all: Receivers,
    stream: u32,
}

impl Receivers {
    /// Registers a stream.
    pub(super) fn register(&self, recv: &mut RecvStream) -> Receiver {
        let stream = recv.stream_id().as_u32();
        self.0.lock().insert(stream, recv.flow_control().clone());
        Receiver {
            all: self.clone(),
            stream,
        }
    }

    /// Sends WINDOW_UPDATE for every stream that has window to announce.
    pub(super) fn update_windows(&self) {
        for flow in self.0.lock().values_mut() {
            // releasing 0 bytes makes h2 re-examine the stream; a stream that has ended needs no window
            let _gone = flow.release_capacity(0).is_err();
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // the stream may end with this handle, for which h2 takes locks of its own: drop it outside of ours
        let flow = self.all.0.lock().remove(&self.stream);
        drop(flow);
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.stream).finish()
    }
}
