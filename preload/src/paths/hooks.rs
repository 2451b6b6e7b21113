//! The functions that take one path and are called with another one below the shadow root: a table of which argument
//! is what. Those of files.rs, with their answers about `/etc/resolv.conf`, use the same [`run`](super::call::run).

#[cfg(not(test))]
use super::call::{Native, run};
#[cfg(not(test))]
use super::spec::{Action, Spec};
#[cfg(not(test))]
use crate::errno::Errno;

functions_of_six_words! {
    by run, Spec;
    eaccess: Spec::path(Action::Access(1));
    euidaccess: Spec::path(Action::Access(1));
    statfs: Spec::path(Action::Ask);
    statfs64: Spec::path(Action::Ask);
    __statfs: Spec::path(Action::Ask);
    statvfs: Spec::path(Action::Ask);
    statvfs64: Spec::path(Action::Ask);
    pathconf: Spec::path(Action::Ask);
    getxattr: Spec::path(Action::Ask);
    lgetxattr: Spec::path(Action::Ask);
    listxattr: Spec::path(Action::Ask);
    llistxattr: Spec::path(Action::Ask);

    chdir: Spec::path(Action::Use);
    inotify_add_watch: Spec::path(Action::Use).after(1);
    fanotify_mark: Spec::at(Action::Use).after(3);
    opendir: Spec::path(Action::List).with_pointer();
    scandir: Spec::path(Action::List);
    scandir64: Spec::path(Action::List);
    scandirat: Spec::at(Action::List);
    scandirat64: Spec::at(Action::List);
    freopen: Spec::path(Action::Stream(1)).with_pointer();
    freopen64: Spec::path(Action::Stream(1)).with_pointer();

    creat: Spec::path(Action::OpenNew);
    creat64: Spec::path(Action::OpenNew);
    mkdir: Spec::path(Action::CreateFolder);
    mkdirat: Spec::at(Action::CreateFolder);
    mknod: Spec::path(Action::Create);
    mknodat: Spec::at(Action::Create);
    __xmknod: Spec::path(Action::Create).after(1);
    __xmknodat: Spec::at(Action::Create).after(1);
    mkfifo: Spec::path(Action::Create);
    mkfifoat: Spec::at(Action::Create);
    rmdir: Spec::path(Action::RemoveFolder);
    unlink: Spec::path(Action::Remove);
    unlinkat: Spec::at(Action::RemoveBy(2));
    remove: Spec::path(Action::RemoveAny);
    truncate: Spec::path(Action::Truncate);
    truncate64: Spec::path(Action::Truncate);

    chmod: Spec::path(Action::Change);
    lchmod: Spec::path(Action::ChangeLink);
    fchmodat: Spec::at(Action::ChangeBy(3));
    chown: Spec::path(Action::Change);
    lchown: Spec::path(Action::ChangeLink);
    fchownat: Spec::at(Action::ChangeBy(4));
    utime: Spec::path(Action::Change);
    utimes: Spec::path(Action::Change);
    lutimes: Spec::path(Action::ChangeLink);
    futimesat: Spec::at(Action::Change);
    utimensat: Spec::at(Action::ChangeBy(3));
    setxattr: Spec::path(Action::Change);
    lsetxattr: Spec::path(Action::ChangeLink);
    removexattr: Spec::path(Action::Change);
    lremovexattr: Spec::path(Action::ChangeLink);
}
