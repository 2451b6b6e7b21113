//! Who can change what lies in a folder: this user and root alone, or others too.
//!
//! A folder that its group may write to is open to others, with one exception: Debian, Ubuntu, Fedora and others give
//! each user a *private group* of the same name and a umask of 002, so that what the user makes is writable for a group
//! that has no other member. Such folders count as the user's own, as for Debian's ssh(1).

use super::user;
use nix::unistd::{Gid, Group, Uid, User};
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The bits of a mode that let the group or all others write.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// The sticky bit: only owners can remove entries of the folder.
const STICKY: u32 = 0o1000;

/// A folder in which others could replace what lies in it.
#[derive(Debug, thiserror::Error)]
#[error("others may write to {}", kinject_escape::path(path))]
pub(crate) struct OpenFolder {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Whether it is this user's, who can then close it.
    pub(crate) is_own: bool,
}

/// Checks a folder, whose path has no links, and all above it.
pub(super) fn check_each(folder: &Path) -> io::Result<()> {
    let overflow_user = overflow_user();
    for around in folder.ancestors() {
        let found = std::fs::metadata(around)?;
        let is_unmapped = || overflow_user == Some(found.uid()) && !is_writable(around);
        if !is_private(around, &found) && !is_unmapped() {
            let refusal = OpenFolder {
                path: around.to_owned(),
                is_own: found.uid() == user(),
            };
            return Err(io::Error::new(ErrorKind::PermissionDenied, refusal));
        }
    }
    Ok(())
}

/// Whether only this user and root can write to a folder.
pub(super) fn is_private(folder: &Path, found: &Metadata) -> bool {
    is_private_with(folder, found, private_group)
}

fn is_private_with(folder: &Path, found: &Metadata, private_group: impl FnOnce() -> Option<u32>) -> bool {
    let is_of_private_group = || private_group() == Some(found.gid()) && !has_acl(folder);
    is_of_user_or_root(found)
        && found.mode() & OTHERS_WRITE == 0
        && (found.mode() & GROUP_WRITES == 0 || is_of_private_group())
}

/// Whether only this user and root can rename or remove what this user makes in a folder.
pub(super) fn keeps(folder: &Path, found: &Metadata) -> bool {
    is_private(folder, found) || is_of_user_or_root(found) && found.mode() & STICKY != 0
}

fn is_of_user_or_root(found: &Metadata) -> bool {
    [0, user()].contains(&found.uid())
}

/// Whether a folder has an access control list (acl(5)): the group's bits of its mode then stand for other users, too.
fn has_acl(folder: &Path) -> bool {
    let length = rustix::fs::getxattr(folder, c"system.posix_acl_access", &mut [0_u8; 0]);
    !matches!(
        length,
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP)
    )
}

/// This user's private group. It is looked up only where a folder makes it matter, since the accounts may be on a
/// server (nsswitch.conf(5)), and once.
fn private_group() -> Option<u32> {
    static FOUND: OnceLock<Option<u32>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let user = User::from_uid(Uid::from_raw(user())).ok()??;
        let group = Group::from_gid(user.gid).ok()??;
        let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
        is_private_group(&user, &group, &accounts).then(|| group.gid.as_raw())
    })
}

/// Whether a group is a user's private one: it has the same name and no other member. A user whose primary group it is
/// stands in the accounts and not among the members (group(5)). Root has none: where a container gives its users
/// numbers without names, all of them are in root's group.
fn is_private_group(user: &User, group: &Group, accounts: &str) -> bool {
    let is_of_another = |line: &str| {
        let mut numbers = line.split(':').skip(2).map(str::parse::<u32>);
        let (uid, gid) = (numbers.next(), numbers.next());
        gid == Some(Ok(group.gid.as_raw())) && uid != Some(Ok(user.uid.as_raw()))
    };
    !user.uid.is_root()
        && group.gid != Gid::from_raw(0)
        && group.name == user.name
        && group.mem.iter().all(|member| *member == user.name)
        && !accounts.lines().any(is_of_another)
}

/// The user that files of root's seem to belong to in a user namespace that does not map root (user_namespaces(7)):
/// they cannot be told there from those of other users outside of it. None where root is mapped.
fn overflow_user() -> Option<u32> {
    let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
    if maps_root(&map) {
        return None;
    }
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?;
    overflow.trim().parse().ok()
}

/// Whether a map, whose lines begin with the first user of a range inside of the namespace, maps user 0.
fn maps_root(map: &str) -> bool {
    map.lines()
        .any(|range| range.split_ascii_whitespace().next() == Some("0"))
}

fn is_writable(folder: &Path) -> bool {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinject_test_support::skip;
    use std::ffi::CString;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn folder_open_to_a_group_is_private_only_if_that_is_the_users_private_group() {
        let folder = tempfile::tempdir().unwrap();
        let group = std::fs::metadata(folder.path()).unwrap().gid();
        for (mode, private_group, expected) in [
            (0o755, None, true),
            (0o775, None, false),
            (0o775, Some(group), true),
            (0o2775, Some(group), true),
            (0o775, Some(group + 1), false),
            (0o777, Some(group), false),
        ] {
            set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            let found = std::fs::metadata(folder.path()).unwrap();
            assert_eq!(
                is_private_with(folder.path(), &found, || private_group),
                expected,
                "{mode:o} {private_group:?}"
            );
        }
    }

    #[test]
    fn folder_that_a_list_opens_to_another_user_is_not_private() {
        let folder = tempfile::tempdir().unwrap();
        set_permissions(folder.path(), Permissions::from_mode(0o770)).unwrap();
        // user::rwx, user:12345:rwx, group::---, mask::rwx, other::---, as the kernel keeps them
        let entries: [(u16, u16, u32); 5] = [
            (0x01, 7, u32::MAX),
            (0x02, 7, 12345),
            (0x04, 0, u32::MAX),
            (0x10, 7, u32::MAX),
            (0x20, 0, u32::MAX),
        ];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            list.extend(tag.to_le_bytes());
            list.extend(rights.to_le_bytes());
            list.extend(id.to_le_bytes());
        }
        let name = CString::from(c"system.posix_acl_access");
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(folder.path(), name, &list, flags).is_err() {
            return skip::not_run(
                "a folder with an access control list",
                "the file system for temporary files has none",
            );
        }
        let found = std::fs::metadata(folder.path()).unwrap();
        assert_eq!(found.mode() & 0o777, 0o770);
        assert!(!is_private_with(folder.path(), &found, || Some(found.gid())));
    }

    #[test]
    fn private_group_has_the_users_name_and_no_other_member() {
        let user = |uid: u32| User {
            name: "ann".to_owned(),
            uid: Uid::from_raw(uid),
            ..User::from_uid(Uid::from_raw(0)).unwrap().unwrap()
        };
        let group = |name: &str, gid: u32, members: &[&str]| Group {
            name: name.to_owned(),
            passwd: CString::default(),
            gid: Gid::from_raw(gid),
            mem: members.iter().map(|member| (*member).to_owned()).collect(),
        };
        const ACCOUNTS: &str = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        let ann = user(1000);
        assert!(is_private_group(&ann, &group("ann", 1000, &[]), ACCOUNTS));
        assert!(is_private_group(&ann, &group("ann", 1000, &["ann"]), ACCOUNTS));
        assert!(!is_private_group(&ann, &group("users", 1000, &[]), ACCOUNTS));
        assert!(!is_private_group(
            &ann,
            &group("ann", 1000, &["ann", "bob"]),
            ACCOUNTS
        ));
        let bob = format!("{ACCOUNTS}bob:x:1001:1000::/home/bob:/bin/sh\n");
        assert!(!is_private_group(&ann, &group("ann", 1000, &[]), &bob));
        assert!(!is_private_group(&user(0), &group("ann", 1000, &[]), ""));
        assert!(!is_private_group(&ann, &group("ann", 0, &[]), ""));
    }

    #[test]
    fn user_namespace_maps_root_if_a_range_begins_with_it() {
        assert!(maps_root("         0          0 4294967295\n"));
        assert!(maps_root(
            "      1000       1000          1\n         0     100000       1000\n"
        ));
        assert!(!maps_root("      1000       1000          1\n"));
        assert!(!maps_root(""));
    }
}
