//! mkstemp(3), mkdtemp(3) and their variants: libc writes a name into the program's template.

use super::buffer::PathBuffer;
use super::call::{Native, ShadowFacts};
use super::decision::Facts;
use super::locate::{Ending, Located, locate};
use super::spec::{Failure, argument};
use super::table::{Table, is_absent};
use crate::errno::Errno;
use crate::memory;
use core::ffi::CStr;
use kinject_protocol::paths::Kind;
use libc::c_char;

functions_of_six_words! {
    by create, Failure;
    mkstemp: Failure::MinusOne;
    mkstemp64: Failure::MinusOne;
    mkostemp: Failure::MinusOne;
    mkostemp64: Failure::MinusOne;
    mkstemps: Failure::MinusOne;
    mkstemps64: Failure::MinusOne;
    mkostemps: Failure::MinusOne;
    mkostemps64: Failure::MinusOne;
    mkdtemp: Failure::Null;
}

/// Calls libc's function with the program's template or, below the shadow root, with one whose last component it
/// copies into the program's.
fn create(native: Native, arguments: [usize; 6], failure: Failure) -> usize {
    if is_absent() {
        return native.call(&arguments);
    }
    redirect(native, arguments, failure)
}

#[inline(never)]
fn redirect(native: Native, mut arguments: [usize; 6], failure: Failure) -> usize {
    let template = argument(&arguments, 0) as *mut c_char;
    let Some(table) = Table::current().filter(|_| memory::is_path_readable(template)) else {
        return native.call(&arguments);
    };
    // SAFETY: the template can be read
    let text = unsafe { CStr::from_ptr(template) }.to_bytes();
    if !table.may_concern(text, true) {
        return native.call(&arguments);
    }
    let mut buffer = PathBuffer::new();
    match locate(&table, libc::AT_FDCWD, text, &mut buffer) {
        Ok(Located::Native) => return native.call(&arguments),
        Ok(Located::Parent(above)) if !above.is_elsewhere => return native.call(&arguments),
        Ok(Located::Elsewhere | Located::Parent(_)) => {}
        Ok(Located::Shadow(found)) if found.kind == Kind::Scratch => {}
        Ok(Located::Shadow(found)) => {
            let mut facts = ShadowFacts {
                found,
                ending: Ending::Name,
                buffer: &mut buffer,
            };
            let error = facts.parent().err().unwrap_or(Errno(libc::EROFS));
            return failure.fail(error);
        }
        Err(error) => return failure.fail(error),
    }
    let name = text
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash.saturating_add(1));
    let length = text.len().saturating_sub(name);
    let [first, ..] = &mut arguments;
    *first = buffer.as_pointer(false) as usize;
    let result = native.call(&arguments);
    if !failure.is(result) {
        let path = buffer.path();
        let written = path
            .len()
            .checked_sub(length)
            .and_then(|start| path.get(start..))
            .unwrap_or_default();
        let into = template.wrapping_add(name).cast::<u8>();
        // SAFETY: the template is the program's, writable as libc expects it, and its last component is as long
        unsafe { core::ptr::copy_nonoverlapping(written.as_ptr(), into, written.len()) };
    }
    match failure {
        Failure::Null if result != 0 => template as usize,
        _ => result,
    }
}
