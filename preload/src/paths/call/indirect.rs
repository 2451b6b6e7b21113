//! Calls whose path does not say by itself what file it leads to: by a descriptor of the process, or within a folder that
//! it may not leave.

use super::Call;
use crate::errno::{self, Errno};
use crate::paths::locate::Located;
use crate::paths::open_file::{Named, complete, kind_of};
use crate::paths::spec::{Failure, Need, opens_for_writing};
use crate::paths::table::Table;
use crate::sys;
use kinject_protocol::paths::Kind;
use libc::c_int;

impl Call {
    /// Makes a call of the machine's file, which a path may name by a descriptor of a remote file.
    #[cold]
    #[inline(never)]
    pub(super) fn by_descriptor(&self, table: &Table, path: &[u8]) -> usize {
        let Some(named) = Named::of(path) else {
            return self.native_result();
        };
        let refuses = match self.need {
            Need::Open(flags) => opens_for_writing(flags) || !named.is_whole && flags & libc::O_CREAT != 0,
            Need::Truncate | Need::Change { follows: true } => true,
            // what is removed or created is in the folder of descriptors
            need => !named.is_whole && need.writes(),
        };
        if refuses && is_read_only(errno::preserve(|| kind_of(table, named.descriptor))) {
            return self.spec.failure.fail(Errno(libc::EROFS));
        }
        if !matches!(self.need, Need::Open(flags) if flags & libc::O_PATH == 0) {
            return self.native_result();
        }
        if !named.is_whole {
            return opened_by_descriptor(table, self.spec.failure, self.native_result());
        }
        // before a stream is opened, which its program alone closes
        match errno::preserve(|| named.complete(table)) {
            Ok(()) => self.native_result(),
            Err(error) => {
                if let Some(done) = self.done
                    && !self.spec.failure.is(done)
                {
                    sys::close(done as c_int);
                }
                self.spec.failure.fail(error)
            }
        }
    }

    /// Makes a call that may not leave its folder, and of whose path the kernel alone knows where it leads.
    #[cold]
    #[inline(never)]
    pub(super) fn confined(
        &self,
        table: &Table,
        folder: c_int,
        path: &[u8],
        located: &Result<Located, Errno>,
    ) -> usize {
        let kind = match located {
            // within the folder (RESOLVE_IN_ROOT)
            _ if path.starts_with(b"/") => errno::preserve(|| kind_of(table, folder)),
            Ok(Located::Shadow(found)) => errno::preserve(|| kind_of(table, folder)).map(|_| found.kind),
            _ => None,
        };
        if self.need.writes() && is_read_only(kind) {
            return self.spec.failure.fail(Errno(libc::EROFS));
        }
        match self.need {
            Need::Open(flags) if flags & libc::O_PATH == 0 => {
                opened_by_descriptor(table, self.spec.failure, self.native_result())
            }
            _ => self.native_result(),
        }
    }
}

/// The descriptor that was opened, if what is behind it can be read. A stream is left as it is: it is open, and closed
/// by its program alone.
#[cold]
#[inline(never)]
fn opened_by_descriptor(table: &Table, failure: Failure, opened: usize) -> usize {
    if failure != Failure::MinusOne || failure.is(opened) {
        return opened;
    }
    match errno::preserve(|| complete(table, opened as c_int)) {
        Ok(()) => opened,
        Err(error) => {
            sys::close(opened as c_int);
            failure.fail(error)
        }
    }
}

/// Whether files of such a mount cannot be written to.
fn is_read_only(kind: Option<Kind>) -> bool {
    kind.is_some_and(|kind| kind != Kind::Scratch)
}
