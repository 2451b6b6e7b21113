//! The preloaded library that fits this machine: one of those in the executable, unpacked, or a file of the
//! installation.

use crate::exit::Failure;
use crate::folder::{self, OpenFolder, preloadable};
use crate::installation;
use kinject_bundle::embedded::{self, EmbeddedParts};
use kinject_bundle::{GlibcVersion, PreloadLibrary, cache, library};
use std::ffi::CStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = PreloadLibrary::FILE_NAME;

/// The builds of a distribution, the newest glibc first: each needs at most the glibc that its folder names.
const BUILDS: [(&str, GlibcVersion); 2] = [("glibc-2.34", (2, 34)), ("glibc-2.17", (2, 17))];

/// Finds the library and gives a path that can stand in LD_PRELOAD: its own, or a link to it.
pub(crate) fn find() -> Result<PathBuf, Failure> {
    match embedded::parts() {
        Some(parts) => unpack(parts),
        None => find_installed(),
    }
}

/// Unpacks the library that fits, unless an earlier run has, into the first of the user's folders that serves.
fn unpack(parts: &EmbeddedParts) -> Result<PathBuf, Failure> {
    let (major, minor) = glibc_version();
    let library = library::fitting(parts.libraries, (major, minor)).ok_or_else(|| {
        Failure::own(
            format!("no library of kinject's can be loaded with glibc {major}.{minor}"),
            "use a system with glibc 2.17 or newer",
        )
    })?;
    let mut failures = Vec::new();
    let mut fix = None;
    for folder in folder::for_library() {
        match unpack_into(&folder, library) {
            Ok(path) => return Ok(path),
            Err(error) => {
                fix = fix.or_else(|| command_that_closes(&error));
                failures.push(format!("{}: {error}", kinject_escape::path(&folder)));
            }
        }
    }
    let why = match failures.as_slice() {
        [] => "neither XDG_CACHE_HOME, HOME nor XDG_RUNTIME_DIR names a folder".to_owned(),
        failures => failures.join("; "),
    };
    Err(Failure::own(
        format!("cannot unpack the library that programs are started with: {why}"),
        &format!(
            "{}set XDG_CACHE_HOME to a folder of yours that no other user can write to, on a file system that is not \
             mounted noexec, without spaces, colons and dollar signs in its path",
            fix.as_deref().unwrap_or("free some space, or ")
        ),
    ))
}

/// The command that closes a folder to others, as the beginning of a hint, if the folder is this user's.
fn command_that_closes(error: &io::Error) -> Option<String> {
    let open: &OpenFolder = error.get_ref()?.downcast_ref()?;
    open.is_own
        .then(|| format!("run `chmod go-w {}`, or ", kinject_escape::path(&open.path)))
}

fn unpack_into(folder: &Path, library: &PreloadLibrary) -> io::Result<PathBuf> {
    let folder = folder::ensure_lasting(folder)?;
    if !preloadable(&folder) {
        return Err(io::Error::other("LD_PRELOAD cannot name this path"));
    }
    cache::unpack(&folder, library.sha256, NAME, library.content)
}

fn find_installed() -> Result<PathBuf, Failure> {
    let beside = installation::folder()?;
    let library = candidates(&beside, glibc_version())
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Failure::own(
                format!(
                    "the library {NAME} is missing near {}",
                    kinject_escape::path(&beside)
                ),
                "install kinject again, or run `cargo build --release` for all of the workspace",
            )
        })?;
    if preloadable(&library) {
        return Ok(library);
    }
    link(&library)
}

/// A build of the library, and for which machines it is.
pub(crate) enum Build {
    /// The executable holds it.
    Embedded(&'static PreloadLibrary),
    /// A file, with the oldest glibc that it is for; one that cargo has built is for this machine's.
    Installed {
        path: PathBuf,
        glibc: Option<GlibcVersion>,
    },
}

/// The builds that this kinject has, the one for the newest glibc first.
pub(crate) fn builds() -> Result<Vec<Build>, Failure> {
    if let Some(parts) = embedded::parts() {
        return Ok(parts.libraries.iter().map(Build::Embedded).collect());
    }
    let beside = installation::folder()?;
    let glibcs = BUILDS.iter().map(|(_, glibc)| Some(*glibc)).chain([None]);
    let builds = candidates(&beside, (u32::MAX, 0)).into_iter().zip(glibcs);
    Ok(builds
        .filter(|(path, _)| path.is_file())
        .map(|(path, glibc)| Build::Installed { path, glibc })
        .collect())
}

/// Makes a symbolic link whose path can stand in LD_PRELOAD. It never lies in a session's folder or among temporary
/// files: every program of the session loads its target, also after the session.
fn link(library: &Path) -> Result<PathBuf, Failure> {
    let cannot = |why: &str| {
        Failure::own(
            format!(
                "LD_PRELOAD cannot name {}, and no link to it can be made: {why}",
                kinject_escape::path(library)
            ),
            "install kinject in a folder without spaces, colons and dollar signs in its path",
        )
    };
    let folder = folder::lasting().map_err(|failures| match failures.as_slice() {
        [] => cannot("neither XDG_RUNTIME_DIR nor HOME names a folder of yours"),
        failures => cannot(&failures.join("; ")),
    })?;
    let link = folder.join(name_of_link(library));
    if !preloadable(&link) {
        return Err(cannot(&format!(
            "{} has such a path, too",
            kinject_escape::path(&folder)
        )));
    }
    if std::fs::read_link(&link).is_ok_and(|target| target == library) {
        return Ok(link);
    }
    // under another name first, then renamed: another session never sees it incomplete
    folder::random_name()
        .map(|name| folder.join(format!("{}.{name}", name_of_link(library))))
        .and_then(|unfinished| {
            std::os::unix::fs::symlink(library, &unfinished)?;
            std::fs::rename(&unfinished, &link)
        })
        .map_err(|error| cannot(&format!("{}: {error}", kinject_escape::path(&link))))?;
    Ok(link)
}

/// A name for each library that may be linked to.
fn name_of_link(library: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    library.hash(&mut hasher);
    format!("{:016x}-{NAME}", hasher.finish())
}

/// Where the library may be, the best first.
fn candidates(beside: &Path, glibc: (u32, u32)) -> Vec<PathBuf> {
    let installed = beside.join("../lib/kinject");
    let fitting = BUILDS.iter().filter(|(_, needed)| *needed <= glibc);
    fitting
        .map(|(build, _)| installed.join(build).join(NAME))
        .chain([beside.join(NAME)])
        .collect()
}

fn glibc_version() -> (u32, u32) {
    // SAFETY: the function has no preconditions and returns a static string with a final NUL
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    parse_version(&version.to_string_lossy())
}

fn parse_version(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_compatible_glibc_build_is_chosen() {
        let names = |glibc| -> Vec<String> {
            candidates(Path::new("/opt/bin"), glibc)
                .iter()
                .map(|path| path.display().to_string())
                .collect()
        };
        let new = "/opt/bin/../lib/kinject/glibc-2.34/libkinject_preload.so";
        let old = "/opt/bin/../lib/kinject/glibc-2.17/libkinject_preload.so";
        let own = "/opt/bin/libkinject_preload.so";
        assert_eq!(names((2, 36)), [new, old, own]);
        assert_eq!(names((2, 31)), [old, own]);
        assert_eq!(names((2, 4)), [own]);
        assert_eq!(parse_version("2.36"), (2, 36));
    }

    #[test]
    fn local_glibc_version_is_parsed() {
        assert!(glibc_version() >= (2, 17));
    }
}
