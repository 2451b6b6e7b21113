//! Other processes and the sockets that they have open (proc_pid_fd(5)).

use std::io;
use std::path::{Path, PathBuf};

/// The folders in proc(5) of all processes but this one.
pub(crate) fn others() -> io::Result<impl Iterator<Item = PathBuf>> {
    let own = std::process::id().to_string();
    Ok(std::fs::read_dir("/proc")?.flatten().filter_map(move |entry| {
        let name = entry.file_name();
        let is_process = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        (is_process && name != own.as_str()).then(|| entry.path())
    }))
}

/// The inodes of the sockets that a process has open; none for a process that cannot be read, such as another user's.
pub(crate) fn sockets(process: &Path) -> impl Iterator<Item = u64> {
    let files = std::fs::read_dir(process.join("fd"));
    files.into_iter().flatten().flatten().filter_map(|file| {
        let target = std::fs::read_link(file.path()).ok()?;
        target.to_str().and_then(socket_inode)
    })
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_socket_links_have_an_inode() {
        assert_eq!(socket_inode("socket:[1234]"), Some(1234));
        assert_eq!(socket_inode("pipe:[1234]"), None);
        assert_eq!(socket_inode("socket:[x]"), None);
    }
}
