//! System calls that take a path, or give one.

use super::of_path;
use crate::errno::Errno;
use crate::hostname;
use crate::paths::{
    Action, Native, Pair, Spec, Two, current_folder_in_session, link_in_session, link_named_in_session,
    pair_in_session,
};
use libc::c_long;

/// fchmodat2(2), which libc does not know everywhere.
const SYS_FCHMODAT2: c_long = 452;

/// How one of the calls is made.
#[derive(Clone, Copy)]
enum Call {
    /// With one path.
    Path(Spec),
    /// With the path of a link, its target's buffer and its size.
    Link(Spec),
    /// With two paths.
    Pair(Two, Pair),
    /// With a target, then the path of a link to it, behind its folder if it has one.
    LinkNamed(Option<u8>, u8),
    /// getcwd(2).
    CurrentFolder,
    /// uname(2).
    Name,
}

/// Declares the numbers and how each call is made.
macro_rules! calls {
    ($($(#[$condition:meta])* $number:path => $call:expr;)*) => {
        /// The numbers of the calls that [`in_session`] knows.
        pub(super) const HOOKED: &[c_long] = &[$($(#[$condition])* $number),*];

        fn call_of(number: c_long) -> Option<Call> {
            $(
                $(#[$condition])*
                if number == $number {
                    return Some($call);
                }
            )*
            None
        }
    };
}

calls! {
    libc::SYS_openat2 => Call::Path(Spec::at(Action::OpenHow(2)));
    libc::SYS_readlinkat => Call::Link(Spec::at(Action::Ask));
    libc::SYS_statfs => Call::Path(Spec::path(Action::Ask));
    libc::SYS_getxattr => Call::Path(Spec::path(Action::Ask));
    libc::SYS_lgetxattr => Call::Path(Spec::path(Action::Ask));
    libc::SYS_listxattr => Call::Path(Spec::path(Action::Ask));
    libc::SYS_llistxattr => Call::Path(Spec::path(Action::Ask));
    libc::SYS_chdir => Call::Path(Spec::path(Action::Use));
    libc::SYS_inotify_add_watch => Call::Path(Spec::path(Action::Use).after(1));
    libc::SYS_mkdirat => Call::Path(Spec::at(Action::CreateFolder));
    libc::SYS_mknodat => Call::Path(Spec::at(Action::Create));
    libc::SYS_unlinkat => Call::Path(Spec::at(Action::RemoveBy(2)));
    libc::SYS_truncate => Call::Path(Spec::path(Action::Truncate));
    libc::SYS_fchmodat => Call::Path(Spec::at(Action::Change));
    SYS_FCHMODAT2 => Call::Path(Spec::at(Action::ChangeBy(3)));
    libc::SYS_fchownat => Call::Path(Spec::at(Action::ChangeBy(4)));
    libc::SYS_utimensat => Call::Path(Spec::at(Action::ChangeBy(3)));
    libc::SYS_setxattr => Call::Path(Spec::path(Action::Change));
    libc::SYS_lsetxattr => Call::Path(Spec::path(Action::ChangeLink));
    libc::SYS_removexattr => Call::Path(Spec::path(Action::Change));
    libc::SYS_lremovexattr => Call::Path(Spec::path(Action::ChangeLink));
    libc::SYS_renameat => Call::Pair(Two::Rename, Pair::AT);
    libc::SYS_renameat2 => Call::Pair(Two::Rename, Pair::AT);
    libc::SYS_linkat => Call::Pair(Two::Link, Pair::AT);
    libc::SYS_symlinkat => Call::LinkNamed(Some(1), 2);
    libc::SYS_getcwd => Call::CurrentFolder;
    libc::SYS_uname => Call::Name;
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink => Call::Link(Spec::path(Action::Ask));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat => Call::Path(Spec::path(Action::OpenNew));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir => Call::Path(Spec::path(Action::CreateFolder));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod => Call::Path(Spec::path(Action::Create));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir => Call::Path(Spec::path(Action::RemoveFolder));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink => Call::Path(Spec::path(Action::Remove));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod => Call::Path(Spec::path(Action::Change));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown => Call::Path(Spec::path(Action::Change));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown => Call::Path(Spec::path(Action::ChangeLink));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime => Call::Path(Spec::path(Action::Change));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes => Call::Path(Spec::path(Action::Change));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat => Call::Path(Spec::at(Action::Change));
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename => Call::Pair(Two::Rename, Pair::PATHS);
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link => Call::Pair(Two::Link, Pair::PATHS);
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink => Call::LinkNamed(None, 1);
}

/// Makes the call; returns what syscall(2) returns.
pub(super) fn in_session(number: c_long, arguments: [usize; 6]) -> c_long {
    let native = Native::Number(number);
    let [a, b, ..] = arguments;
    let result = match call_of(number) {
        Some(Call::Path(spec)) => return of_path(number, arguments, spec),
        Some(Call::Link(spec)) => link_in_session(native, arguments, spec),
        Some(Call::Pair(what, pair)) => pair_in_session(native, arguments, what, pair),
        Some(Call::LinkNamed(folder, path)) => link_named_in_session(native, arguments, folder, path),
        Some(Call::CurrentFolder) => match current_folder_in_session(a as _, b) {
            None => native.call(&arguments),
            Some(Ok(length)) => length,
            Some(Err(error)) => error.fail() as usize,
        },
        Some(Call::Name) => hostname::named_in_session(a as _, native.call(&arguments) as _) as usize,
        // not in the list
        None => Errno(libc::ENOSYS).fail() as usize,
    };
    result as c_long
}
