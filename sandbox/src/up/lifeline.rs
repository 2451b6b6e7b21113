//! What a sandbox's lifetime is bound to: it ends when its standard input is closed or when its parent ends.
//!
//! Only a pipe or a socket counts as a standard input that can be closed. A terminal has Ctrl-C instead, and reading
//! from it in the background would stop us; `/dev/null` is what a shell gives to a job in the background.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::netns::pidfd;

/// The descriptors that are watched, as far as there are any.
pub(super) struct Lifelines {
    input: Option<AsyncFd<BorrowedFd<'static>>>,
    parent: Option<AsyncFd<OwnedFd>>,
}

impl Lifelines {
    /// Watches the parent, and standard input if `with_input`.
    pub(super) fn new(with_input: bool) -> io::Result<Self> {
        let input = with_input.then(closable_input).flatten();
        Ok(Self {
            input: input.map(watch).transpose()?,
            parent: parent()?.map(watch).transpose()?,
        })
    }

    /// Waits until the parent or standard input ends. Cancel-safe.
    pub(super) async fn cut(&self) -> io::Result<()> {
        tokio::select! {
            outcome = closed(self.input.as_ref()) => outcome,
            outcome = ended(self.parent.as_ref()) => outcome,
        }
    }
}

/// Lets the runtime tell when `fd` is readable.
pub(super) fn watch<F: AsFd + AsRawFd>(fd: F) -> io::Result<AsyncFd<F>> {
    // SAFETY: what implements `AsFd` keeps one descriptor open for as long as it lives, and the AsyncFd keeps it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}

fn closable_input() -> Option<BorrowedFd<'static>> {
    // SAFETY: nothing in this program closes descriptor 0.
    let input = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) };
    let kind = std::fs::metadata("/proc/self/fd/0").ok()?.file_type();
    (kind.is_fifo() || kind.is_socket()).then_some(input)
}

/// The parent, unless it lives in another process namespace and cannot be named.
fn parent() -> io::Result<Option<OwnedFd>> {
    match std::os::unix::process::parent_id() {
        0 => Ok(None),
        parent => pidfd(parent).map(Some),
    }
}

async fn ended(parent: Option<&AsyncFd<OwnedFd>>) -> io::Result<()> {
    match parent {
        Some(parent) => parent.readable().await.map(drop),
        None => std::future::pending().await,
    }
}

async fn closed(input: Option<&AsyncFd<BorrowedFd<'static>>>) -> io::Result<()> {
    let Some(input) = input else {
        return std::future::pending().await;
    };
    let mut ignored = [0; 4096];
    loop {
        let mut ready = input.readable().await?;
        // The descriptor may be shared, so it stays blocking: ask before reading.
        if !has_input(input.as_raw_fd())? {
            ready.clear_ready();
        } else if io::stdin().lock().read(&mut ignored)? == 0 {
            return Ok(());
        }
    }
}

fn has_input(fd: libc::c_int) -> io::Result<bool> {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live pollfd is passed, and its count.
    match unsafe { libc::poll(&raw mut poll, 1, 0) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}
