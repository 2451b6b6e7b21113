//! Waits until the kernel has delivered the data of closed sockets.
//!
//! A kernel goes on delivering the data of a socket after its process has closed it. But a pod's network namespace ends
//! with its last process, and unacknowledged data with it. So an agent that is the only process of its network runs
//! until all data is acknowledged. No system call waits for that, so the kernel's socket tables are polled.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::time::sleep;

use crate::log::log;

/// The sockets of the agent's network namespace (proc_pid_net(5)).
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// States of a closed socket whose FIN is not acknowledged yet: `FIN_WAIT1`, `LAST_ACK` and `CLOSING` of
/// `net/tcp_states.h`, as the tables show them.
const UNDELIVERED: [&str; 3] = ["04", "09", "0B"];

/// The pause between two reads of the tables.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until all data is acknowledged. Without the tables it does not wait.
pub(crate) async fn delivered() {
    while undelivered() > 0 {
        sleep(PAUSE).await;
    }
}

fn undelivered() -> usize {
    TABLES
        .iter()
        .map(|table| match std::fs::read_to_string(table) {
            Ok(text) => count(&text),
            // a kernel without IPv6
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => {
                log(format_args!("cannot read {table}: {error}"));
                0
            }
        })
        .sum()
}

/// Counts sockets in these states; the first line of a table is its header.
fn count(table: &str) -> usize {
    let states = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(3));
    states.filter(|state| UNDELIVERED.contains(state)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_with_an_unacknowledged_fin_are_counted() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let line = |state| {
            format!(
                "   0: 0500F40A:9C40 030AF40A:1B58 {state} 000493E0:00000000 01:00000014 00000000     0        0 0\n"
            )
        };
        let table: String = ["01", "04", "05", "06", "09", "0A", "0B"]
            .iter()
            .map(line)
            .collect();
        assert_eq!(count(&format!("{head}{table}")), 3);
        assert_eq!(count(head), 0);
        assert_eq!(count(""), 0);
    }
}
