//! A build of the preloaded library that the executable holds.

/// A version of glibc.
pub type GlibcVersion = (u32, u32);

/// The bytes of `libkinject_preload.so` for machines with a glibc of some version or a newer one.
#[derive(Debug)]
pub struct PreloadLibrary {
    /// The oldest glibc that it can be loaded with.
    pub glibc: GlibcVersion,
    /// The file.
    pub content: &'static [u8],
    /// Its SHA-256, in hexadecimal.
    pub sha256: &'static str,
}

impl PreloadLibrary {
    /// The file's name, by which the dynamic linker and the session's programs know it.
    pub const FILE_NAME: &'static str = "libkinject_preload.so";
}

/// Of several builds, the newest first, the one for a machine with this glibc.
pub fn fitting(libraries: &[PreloadLibrary], glibc: GlibcVersion) -> Option<&PreloadLibrary> {
    libraries.iter().find(|library| library.glibc <= glibc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_selects_the_newest_library_that_it_can_load() {
        let library = |glibc| PreloadLibrary {
            glibc,
            content: b"",
            sha256: "",
        };
        let libraries = [library((2, 34)), library((2, 17))];
        let selected = |glibc| fitting(&libraries, glibc).map(|library| library.glibc);
        assert_eq!(selected((2, 41)), Some((2, 34)));
        assert_eq!(selected((2, 34)), Some((2, 34)));
        assert_eq!(selected((2, 33)), Some((2, 17)));
        assert_eq!(selected((2, 12)), None);
    }
}
