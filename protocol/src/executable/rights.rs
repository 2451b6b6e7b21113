//! Rights that a file gives to a process that executes it: the dynamic linker then ignores LD_PRELOAD.

use super::InjectionBlocker;

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o0010;

/// A file's mode and owners, and who is about to run it.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    /// `st_mode`.
    pub mode: u32,
    /// `st_uid`.
    pub owner: u32,
    /// `st_gid`.
    pub group: u32,
    /// The real user of whoever runs it.
    pub user: u32,
    /// Its real group.
    pub own_group: u32,
    /// Whether the file's capabilities give it some ([`holds_capabilities`]).
    pub has_capabilities: bool,
}

impl Rights {
    /// Whether a file with this mode may elevate.
    #[inline]
    pub fn is_special(mode: u32) -> bool {
        mode & (SET_USER | SET_GROUP) != 0
    }

    /// What turns on the dynamic linker's secure-execution mode: the kernel's own rule for `AT_SECURE` (getauxval(3)).
    #[inline]
    pub fn blocker(&self) -> Option<InjectionBlocker> {
        if self.mode & SET_USER != 0 && self.owner != self.user {
            return Some(InjectionBlocker::SetUser);
        }
        // without group execute permission, the setgid bit means mandatory locking
        let set_group = SET_GROUP | GROUP_EXECUTE;
        if self.mode & set_group == set_group && self.group != self.own_group {
            return Some(InjectionBlocker::SetGroup);
        }
        // root has them anyway
        (self.has_capabilities && self.user != 0).then_some(InjectionBlocker::Capabilities)
    }
}

/// Does the attribute `security.capability` (`struct vfs_cap_data` of linux/capability.h) give anything?
#[inline]
pub fn holds_capabilities(attribute: &[u8]) -> bool {
    const EFFECTIVE: u8 = 1;
    let word = |index: usize| {
        let bytes = attribute.get(index..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    // magic and flags, then permitted and inheritable for each half
    let is_effective = attribute.first().is_some_and(|flags| flags & EFFECTIVE != 0);
    is_effective
        || [4, 12]
            .into_iter()
            .filter_map(word)
            .any(|permitted| permitted != 0)
}
