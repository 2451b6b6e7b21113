//! Waiting for one's turn: a task that steps back lets every other task that is ready go first.
//!
//! A [`turn`] costs a trip through the runtime's queue and no system call. A [`rest`] is longer: the runtime asks the
//! operating system for news first, and whoever is woken by them goes first as well.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

/// Lets every other task that is ready have its turn.
pub(crate) async fn turn() {
    let mut last = Last::default();
    poll_fn(|cx| last.poll_turn(cx)).await;
}

/// Has the task woken again when the operating system was asked for news. To be called in a poll that returns pending.
pub(crate) fn rest(cx: &mut Context<'_>) {
    // It asks for the wake-up in its first poll, and needs no second one.
    let _pending = pin!(tokio::task::yield_now()).poll(cx);
}

/// Makes a task the last of those that were woken together.
///
/// HTTP/2's own task gathers so what they all have to say, and sends it in one write.
#[derive(Debug, Default)]
pub(crate) struct Last {
    stepped_back: bool,
}

impl Last {
    /// Ready at every second poll; at the others the task is woken again behind those that are ready now.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stepped_back = !self.stepped_back;
        match self.stepped_back {
            true => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            false => Poll::Ready(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[tokio::test]
    async fn who_steps_back_comes_after_those_that_are_ready() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let local = tokio::task::LocalSet::new();
        let (first, second) = (Rc::clone(&order), Rc::clone(&order));
        local.spawn_local(async move {
            turn().await;
            first.borrow_mut().push("stepped back");
        });
        local.spawn_local(async move { second.borrow_mut().push("ready") });
        local.await;
        assert_eq!(*order.borrow(), ["ready", "stepped back"]);
    }
}
