//! The members of the family with a fixed number of arguments.

use super::copy::{with_own, with_session};
use super::file::Name;
use super::uninjectable::inspect;
use crate::environment;
use crate::errno::Errno;
use crate::memory;
use crate::paths::{check_open_program, with_program};
use crate::real;
use libc::{c_char, c_int, c_void, pid_t};

/// An array of C strings that a null ends.
type Strings = *const *const c_char;

hook! {
    unsafe fn execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int => hooked_execve {
        execve_in_session(path, argv, envp)
    }
}

hook! {
    unsafe fn execv(path: *const c_char, argv: Strings) -> c_int => hooked_execv {
        execv_in_session(path, argv)
    }
}

hook! {
    unsafe fn execvp(file: *const c_char, argv: Strings) -> c_int => hooked_execvp {
        execvp_in_session(file, argv)
    }
}

hook! {
    unsafe fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int => hooked_execvpe {
        execvpe_in_session(file, argv, envp)
    }
}

hook! {
    unsafe fn fexecve(descriptor: c_int, argv: Strings, envp: Strings) -> c_int => hooked_fexecve {
        fexecve_in_session(descriptor, argv, envp)
    }
}

hook! {
    unsafe fn execveat(
        folder: c_int,
        path: *const c_char,
        argv: Strings,
        envp: Strings,
        flags: c_int
    ) -> c_int => hooked_execveat {
        execveat_in_session(folder, path, argv, envp, flags)
    }
}

hook! {
    unsafe fn posix_spawn(
        child: *mut pid_t,
        path: *const c_char,
        actions: *const c_void,
        attributes: *const c_void,
        argv: Strings,
        envp: Strings
    ) -> c_int => hooked_spawn {
        posix_spawn_in_session(child, path, actions, attributes, argv, envp)
    }
}

hook! {
    unsafe fn posix_spawnp(
        child: *mut pid_t,
        file: *const c_char,
        actions: *const c_void,
        attributes: *const c_void,
        argv: Strings,
        envp: Strings
    ) -> c_int => hooked_spawnp {
        posix_spawnp_in_session(child, file, actions, attributes, argv, envp)
    }
}

/// The error where this machine's libc does not have the function.
const MISSING: Errno = Errno(libc::ENOSYS);

pub(crate) extern "C" fn execve_in_session(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let Some(native) = real::execve.get() else {
        return MISSING.fail();
    };
    let started = with_program(libc::AT_FDCWD, path, |folder, path| {
        let runtime = inspect(Name::At(folder, path), envp)?;
        // SAFETY: these are the program's own arguments, and a path and an environment that outlive the call
        Ok(with_session(envp, runtime.as_ref(), |envp| unsafe {
            native(path, argv, envp)
        }))
    });
    started.flatten().unwrap_or_else(Errno::fail)
}

pub(super) extern "C" fn execv_in_session(path: *const c_char, argv: Strings) -> c_int {
    let (Some(native), Some(with_environment)) = (real::execv.get(), real::execve.get()) else {
        return MISSING.fail();
    };
    let started = with_program(libc::AT_FDCWD, path, |folder, path| {
        let runtime = inspect(Name::At(folder, path), environment::own())?;
        Ok(with_own(
            environment::own(),
            runtime.as_ref(),
            |envp| match envp {
                // SAFETY: as above
                None => unsafe { native(path, argv) },
                // SAFETY: as above
                Some(envp) => unsafe { with_environment(path, argv, envp) },
            },
        ))
    });
    started.flatten().unwrap_or_else(Errno::fail)
}

pub(super) extern "C" fn execvp_in_session(file: *const c_char, argv: Strings) -> c_int {
    let (Some(native), Some(with_environment)) = (real::execvp.get(), real::execvpe.get()) else {
        return MISSING.fail();
    };
    let started = with_named_program(file, |file| {
        let runtime = inspect(Name::InPath(file), environment::own())?;
        Ok(with_own(
            environment::own(),
            runtime.as_ref(),
            |envp| match envp {
                // SAFETY: as above
                None => unsafe { native(file, argv) },
                // SAFETY: as above
                Some(envp) => unsafe { with_environment(file, argv, envp) },
            },
        ))
    });
    started.flatten().unwrap_or_else(Errno::fail)
}

/// [`with_program`] for a path, or a name that libc searches for in PATH.
#[inline]
fn with_named_program<T>(file: *const c_char, start: impl FnOnce(*const c_char) -> T) -> Result<T, Errno> {
    // SAFETY: libc reads the name as a C string, too, before it calls the kernel
    let is_path = !unsafe { libc::strchr(file, c_int::from(b'/')) }.is_null();
    match is_path {
        true => with_program(libc::AT_FDCWD, file, |_, path| start(path)),
        false => Ok(start(file)),
    }
}

extern "C" fn execvpe_in_session(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let Some(native) = real::execvpe.get() else {
        return MISSING.fail();
    };
    let started = with_named_program(file, |file| {
        let runtime = inspect(Name::InPath(file), envp)?;
        // SAFETY: as above
        Ok(with_session(envp, runtime.as_ref(), |envp| unsafe {
            native(file, argv, envp)
        }))
    });
    started.flatten().unwrap_or_else(Errno::fail)
}

extern "C" fn fexecve_in_session(descriptor: c_int, argv: Strings, envp: Strings) -> c_int {
    let Some(native) = real::fexecve.get() else {
        return MISSING.fail();
    };
    let inspected = check_open_program(descriptor).and_then(|()| inspect(Name::Open(descriptor), envp));
    let runtime = match inspected {
        Ok(runtime) => runtime,
        Err(error) => return error.fail(),
    };
    // SAFETY: as above
    with_session(envp, runtime.as_ref(), |envp| unsafe {
        native(descriptor, argv, envp)
    })
}

pub(crate) extern "C" fn execveat_in_session(
    folder: c_int,
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    flags: c_int,
) -> c_int {
    let Some(native) = real::execveat.get() else {
        return MISSING.fail();
    };
    let may_be_empty = flags & libc::AT_EMPTY_PATH != 0 && memory::is_path_readable(path);
    // SAFETY: the path was found to be readable, at least its first byte
    let names_the_descriptor = may_be_empty && unsafe { *path } == 0;
    if names_the_descriptor && let Err(error) = check_open_program(folder) {
        return error.fail();
    }
    let started = with_program(folder, path, |folder, path| {
        let inspected = inspect(Name::At(folder, path), envp)?;
        let runtime = match names_the_descriptor {
            true if inspected.is_none() => inspect(Name::Open(folder), envp)?,
            _ => inspected,
        };
        // SAFETY: as above
        Ok(with_session(envp, runtime.as_ref(), |envp| unsafe {
            native(folder, path, argv, envp, flags)
        }))
    });
    started.flatten().unwrap_or_else(Errno::fail)
}

extern "C" fn posix_spawn_in_session(
    child: *mut pid_t,
    path: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    argv: Strings,
    envp: Strings,
) -> c_int {
    let Some(native) = real::posix_spawn.get() else {
        return MISSING.0;
    };
    let started = with_program(libc::AT_FDCWD, path, |folder, path| {
        let runtime = inspect(Name::At(folder, path), envp)?;
        // SAFETY: as above
        Ok(with_session(envp, runtime.as_ref(), |envp| unsafe {
            native(child, path, actions, attributes, argv, envp)
        }))
    });
    started.flatten().unwrap_or_else(|error| error.0)
}

extern "C" fn posix_spawnp_in_session(
    child: *mut pid_t,
    file: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    argv: Strings,
    envp: Strings,
) -> c_int {
    let Some(native) = real::posix_spawnp.get() else {
        return MISSING.0;
    };
    let started = with_named_program(file, |file| {
        let runtime = inspect(Name::InPath(file), envp)?;
        // SAFETY: as above
        Ok(with_session(envp, runtime.as_ref(), |envp| unsafe {
            native(child, file, actions, attributes, argv, envp)
        }))
    });
    started.flatten().unwrap_or_else(|error| error.0)
}
