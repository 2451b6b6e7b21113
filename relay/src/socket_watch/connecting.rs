//! Detects that a program has closed a socket whose connect is in progress.
//!
//! While the relay holds a duplicate, the program's close(2) has no visible effect. So for connects in progress the
//! relay checks once a second whether any other process still has the socket open: `/proc/PID/fd` shows sockets as
//! `socket:[INODE]` (proc(5)). One scan serves all connects.

use crate::socket_watch::proc_fd;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// The time between two scans while connects are in progress.
const PERIOD: Duration = Duration::from_secs(1);

/// How many scans in a row must miss a socket: a descriptor that is being passed to another process is in no table.
const MISSES: u8 = 2;

/// The sockets that are watched.
#[derive(Default)]
pub(crate) struct ConnectingSockets {
    watched: parking_lot::Mutex<Vec<Watched>>,
    added: Notify,
}

struct Watched {
    inode: u64,
    misses: u8,
    gone: Rc<Notify>,
}

impl ConnectingSockets {
    /// Ends when no other process has the socket with this inode open any more.
    pub(crate) async fn wait(&self, inode: u64) {
        let gone = Rc::new(Notify::new());
        self.watched.lock().push(Watched {
            inode,
            misses: 0,
            gone: Rc::clone(&gone),
        });
        let _forget = Forget {
            connecting: self,
            gone: Rc::clone(&gone),
        };
        self.added.notify_one();
        gone.notified().await;
    }

    /// Scans for as long as the session lives.
    pub(crate) async fn run(&self) -> std::convert::Infallible {
        loop {
            if self.watched.lock().is_empty() {
                self.added.notified().await;
            }
            tokio::time::sleep(PERIOD).await;
            let wanted: HashSet<u64> = self.watched.lock().iter().map(|watched| watched.inode).collect();
            if wanted.is_empty() {
                continue;
            }
            let open = open_sockets(&wanted);
            for watched in self.watched.lock().iter_mut() {
                if !wanted.contains(&watched.inode) || open.contains(&watched.inode) {
                    watched.misses = 0;
                    continue;
                }
                watched.misses += 1;
                if watched.misses >= MISSES {
                    watched.gone.notify_one();
                }
            }
        }
    }
}

struct Forget<'a> {
    connecting: &'a ConnectingSockets,
    gone: Rc<Notify>,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut watched = self.connecting.watched.lock();
        watched.retain(|watched| !Rc::ptr_eq(&watched.gone, &self.gone));
    }
}

/// Which of these sockets another process has open. Processes of other users cannot be read, but a session's sockets
/// belong to the session's user.
fn open_sockets(wanted: &HashSet<u64>) -> HashSet<u64> {
    let Ok(processes) = proc_fd::others() else {
        return wanted.clone();
    };
    let mut open = HashSet::new();
    for process in processes {
        open.extend(proc_fd::sockets(&process).filter(|inode| wanted.contains(inode)));
        if open.len() == wanted.len() {
            break;
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_held_by_no_other_process_ends_the_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let connecting = ConnectingSockets::default();
            tokio::select! {
                ended = connecting.run() => match ended {},
                // no socket has this inode
                () = connecting.wait(u64::MAX) => {}
            }
            assert!(connecting.watched.lock().is_empty());
        });
    }
}
