//! The UDP sockets of this machine, from `/proc/net/udp` and `/proc/net/udp6` (proc(5)).
//!
//! The relay holds no duplicate of a program's UDP socket, which would keep its port bound after the program has closed
//! it. So it has to detect closed sockets.

use std::collections::HashMap;
use std::io;

/// The ports to which sockets are connected, 0 for none, by the sockets' inodes.
pub(crate) fn sockets() -> io::Result<HashMap<u64, u16>> {
    let mut found = HashMap::new();
    read(&std::fs::read_to_string("/proc/net/udp")?, &mut found);
    match std::fs::read_to_string("/proc/net/udp6") {
        Ok(table) => read(&table, &mut found),
        // a kernel without IPv6
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

fn read(table: &str, found: &mut HashMap<u64, u16>) {
    found.extend(table.lines().skip(1).filter_map(line));
}

fn line(line: &str) -> Option<(u64, u16)> {
    let mut words = line.split_ascii_whitespace();
    let (_, port) = words.nth(2)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let inode = words.nth(6)?.parse().ok()?;
    Some((inode, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fstat;
    use std::net::UdpSocket;

    #[test]
    fn open_socket_is_listed_with_its_peers_port_until_closed() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).unwrap();
            let peer = UdpSocket::bind(address).unwrap();
            let inode = fstat(&socket).unwrap().st_ino;
            assert_eq!(sockets().unwrap().get(&inode), Some(&0));
            let to = peer.local_addr().unwrap();
            socket.connect(to).unwrap();
            assert_eq!(sockets().unwrap().get(&inode), Some(&to.port()));
            drop(socket);
            assert_eq!(sockets().unwrap().get(&inode), None);
        }
    }
}
