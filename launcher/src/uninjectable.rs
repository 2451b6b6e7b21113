//! Whether the library can be loaded into the session's first program; the library itself checks the children.

use crate::cli::{OnStatic, SessionOptions};
use crate::exit::{Failure, Status};
use crate::message::{self, Severity};
use kinject_protocol::executable::{
    self, HEAD, InjectionBlocker, MAX_INTERPRETERS, Mdwe, PR_GET_MDWE, Rights, Runtime, holds_capabilities,
};
use rustix::process::{getgid, getuid};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Says on standard error that the program will be outside of the session, or refuses it.
pub(crate) fn check(program: &Path, options: &SessionOptions) -> Result<(), Failure> {
    if options.on_static == OnStatic::Ignore {
        return Ok(());
    }
    // a file that cannot be read is left to the kernel
    let Ok(Some((file, blocker))) = inspect(program) else {
        return Ok(());
    };
    let name = kinject_escape::bytes(file.as_os_str().as_bytes());
    if options.on_static == OnStatic::Fail {
        return Err(Failure {
            code: Status::CannotRun,
            error: format!("{name} is not started: {}", blocker.reason()),
            hint: Some(blocker.advice().to_owned()),
        });
    }
    if !options.output.quiet {
        message::say(Severity::Warning, &blocker.message(&name, false), None);
    }
    Ok(())
}

/// The runtime library of a sanitizer that has to be loaded before all others.
pub(crate) fn runtime(program: &Path) -> Option<Runtime> {
    let (_, readable) = follow(program).ok()??;
    let (file, head) = readable?;
    executable::runtime(&file, &head)
}

fn inspect(program: &Path) -> io::Result<Option<(PathBuf, InjectionBlocker)>> {
    let Some((path, readable)) = follow(program)? else {
        return Ok(None);
    };
    let elevation = elevation(&path)?;
    let blocker = match readable {
        Some((file, head)) => executable::injection_blocker(&file, &head, elevation, has_mdwe, || false),
        None => elevation,
    };
    Ok(blocker.map(|blocker| (path, blocker)))
}

/// A file and its head.
type Readable = (ProgramFile, Vec<u8>);

/// Follows a script to its interpreter. What may be run and not read has no contents.
fn follow(program: &Path) -> io::Result<Option<(PathBuf, Option<Readable>)>> {
    let mut path = program.to_owned();
    for _ in 0..=MAX_INTERPRETERS {
        let file = match File::open(&path) {
            Ok(file) => ProgramFile(file),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Some((path, None))),
            Err(error) => return Err(error),
        };
        let mut head = vec![0; HEAD];
        let length = file.0.read_at(&mut head, 0)?;
        head.truncate(length);
        match executable::interpreter(&head) {
            Some(interpreter) => path = OsStr::from_bytes(interpreter).into(),
            None => return Ok(Some((path, Some((file, head))))),
        }
    }
    Ok(None)
}

/// The blocker that the file's rights are, if any.
fn elevation(path: &Path) -> io::Result<Option<InjectionBlocker>> {
    let metadata = std::fs::metadata(path)?;
    let mut capabilities = [0; 24];
    let length = rustix::fs::getxattr(path, c"security.capability", &mut capabilities).unwrap_or(0);
    let rights = Rights {
        mode: metadata.mode(),
        owner: metadata.uid(),
        group: metadata.gid(),
        user: getuid().as_raw(),
        own_group: getgid().as_raw(),
        has_capabilities: holds_capabilities(capabilities.get(..length).unwrap_or_default()),
    };
    Ok(rights.blocker().filter(|_| !rights_have_no_effect(path)))
}

/// Whether the file's rights have no effect: with `no_new_privs`, or on a `nosuid` file system.
fn rights_have_no_effect(path: &Path) -> bool {
    let nosuid = rustix::fs::statvfs(path)
        .is_ok_and(|status| status.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID));
    nosuid || rustix::thread::no_new_privs().unwrap_or(false)
}

/// Whether children of this process may not make writable memory executable (prctl(2), `PR_SET_MDWE`).
fn has_mdwe() -> bool {
    // SAFETY: the call takes no pointer
    let answer = unsafe { libc::prctl(PR_GET_MDWE, 0, 0, 0, 0) };
    Mdwe::from_answer(answer).holds_for_children()
}

struct ProgramFile(File);

impl executable::File for ProgramFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        self.0.read_at(buffer, offset).ok()
    }

    fn find(&self, haystack: &[u8], needle: &[u8]) -> Option<usize> {
        let (start, pattern) = (haystack.as_ptr(), needle.as_ptr());
        // SAFETY: both are readable for their lengths
        let found = unsafe { libc::memmem(start.cast(), haystack.len(), pattern.cast(), needle.len()) };
        // within the haystack, or null
        (found as usize).checked_sub(start as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn script_resolves_to_its_interpreter_within_the_kernels_depth() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(inspect(&script).unwrap().is_none());
        std::fs::write(&script, format!("#!{}\n", script.display())).unwrap();
        assert!(inspect(&script).unwrap().is_none());
        assert!(inspect(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn setuid_program_of_another_user_is_uninjectable() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("sh");
        std::fs::copy("/bin/sh", &copy).unwrap();
        std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o4755)).unwrap();
        // a setuid program of the user's own elevates nothing
        assert!(inspect(&copy).unwrap().is_none());
        let what = "setuid programs of another user";
        if !getuid().is_root() {
            return kinject_test_support::skip::not_run(what, "making one needs root");
        }
        if rights_have_no_effect(&copy) {
            return kinject_test_support::skip::not_run(
                what,
                "temporary files are on a file system that allows none",
            );
        }
        std::os::unix::fs::chown(&copy, Some(12345), None).unwrap();
        // chown clears the bit
        std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o4755)).unwrap();
        assert_eq!(inspect(&copy).unwrap().unwrap().1, InjectionBlocker::SetUser);
    }
}
