//! Which file systems are this machine's alone, so that a lock that nobody holds here is held nowhere.

use rustix::fs::statfs;
use std::path::Path;

/// Their types (statfs(2)): tmpfs, ramfs, ext2 to ext4, XFS, Btrfs, overlayfs, F2FS, ZFS.
const LOCAL: [u64; 8] = [
    0x0102_1994,
    0x8584_58f6,
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x794c_7630,
    0xf2f5_2010,
    0x2fc1_2fc1,
];

/// Whether a folder lies on such a file system; not if it does not exist.
pub(super) fn is_local(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|found| is_local_type(found.f_type as u64))
}

fn is_local_type(kind: u64) -> bool {
    // of some architectures it is a signed number of 32 bits
    LOCAL.contains(&(kind & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_local_in_memory_and_on_no_network_or_unknown_file_system() {
        assert!(is_local(Path::new("/dev/shm")));
        for not in ["/proc", "/dev/shm/kinject-missing"] {
            assert!(!is_local(Path::new(not)), "{not}");
        }
        // NFS, CIFS, SMB2, FUSE, 9P, Ceph, Lustre
        for kind in [
            0x6969,
            0xff53_4d42,
            0xfe53_4d42,
            0x6573_5546,
            0x0102_1997,
            0x00c3_6400,
            0x0bd0_0bd0,
        ] {
            assert!(!is_local_type(kind), "{kind:#x}");
        }
        for kind in [0xffff_ffff_9123_683e, 0xef53] {
            assert!(is_local_type(kind), "{kind:#x}");
        }
    }
}
