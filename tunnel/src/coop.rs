//! Cooperative yielding: a task lets others run before it goes on.
//!
//! [`yield_to_ready`] costs a trip through the runtime's queue and no system call. [`yield_to_reactor`] takes longer: the
//! runtime polls the operating system for events first (`epoll_wait(2)`), and the tasks that they wake also run first.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

/// Lets every other task that is ready run first.
pub(crate) async fn yield_to_ready() {
    let mut once = YieldOnce::default();
    poll_fn(|cx| once.poll_yielded(cx)).await;
}

/// Schedules the task to run again after the runtime has polled for events. To be called in a poll that returns pending.
pub(crate) fn yield_to_reactor(cx: &mut Context<'_>) {
    // Its first poll schedules the wake-up, and there is no second one.
    let _pending = pin!(tokio::task::yield_now()).poll(cx);
}

/// Makes a task run after all others that were woken at the same time.
///
/// The task that drives HTTP/2 collects in this way the frames of all of them, and sends these in one write.
#[derive(Debug, Default)]
pub(crate) struct YieldOnce {
    has_yielded: bool,
}

impl YieldOnce {
    /// Ready at every second poll. At the others the task is scheduled behind those that are ready.
    pub(crate) fn poll_yielded(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.has_yielded = !self.has_yielded;
        match self.has_yielded {
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
    async fn yield_to_ready_runs_ready_tasks_first() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let local = tokio::task::LocalSet::new();
        let (first, second) = (Rc::clone(&order), Rc::clone(&order));
        local.spawn_local(async move {
            yield_to_ready().await;
            first.borrow_mut().push("yielded");
        });
        local.spawn_local(async move { second.borrow_mut().push("ready") });
        local.await;
        assert_eq!(*order.borrow(), ["ready", "yielded"]);
    }
}
