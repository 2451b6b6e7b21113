//! The archive for systems without `.deb` or `.rpm`: it can be unpacked into `/usr/local` or any other folder.

use std::path::Path;

use anyhow::{Context, Result};
use kinject_bundle::Architecture;
use kinject_image::gzip;
use tar::{Builder, EntryType, Header};

use super::contents::Contents;
use super::file_stem;
use crate::archive::digest;

/// A written archive.
pub(super) struct Tarball {
    /// The file's name.
    pub(super) name: String,
    /// The folder in which everything in it lies.
    pub(super) folder: String,
    /// Its SHA-256.
    pub(super) sha256: String,
}

/// Writes the archive into a folder.
pub(super) fn write(
    contents: &Contents,
    architecture: Architecture,
    time: u64,
    folder: &Path,
) -> Result<Tarball> {
    let stem = file_stem(architecture);
    let archive = pack(contents, &stem, time)?;
    let tarball = Tarball {
        name: format!("{stem}.tar.gz"),
        folder: stem,
        sha256: digest(&archive),
    };
    super::write(&folder.join(&tarball.name), &archive)?;
    Ok(tarball)
}

fn pack(contents: &Contents, folder: &str, time: u64) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for file in &contents.0 {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(file.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(time);
        header.set_size(file.content.len() as u64);
        archive
            .append_data(
                &mut header,
                format!("{folder}/{}", file.path),
                file.content.as_slice(),
            )
            .with_context(|| format!("packing {}", file.path))?;
    }
    Ok(gzip(&archive.into_inner()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::contents::InstalledFile;

    #[test]
    fn tarball_has_fixed_modes_owners_and_times_and_the_same_bytes_each_time() {
        let contents = Contents(vec![InstalledFile {
            path: "bin/kinject".to_owned(),
            mode: 0o755,
            content: b"\x7fELF".to_vec(),
        }]);
        let packed = pack(&contents, "kinject-1", 1_700_000_000).unwrap();
        assert_eq!(packed, pack(&contents, "kinject-1", 1_700_000_000).unwrap());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let headers: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                let owner = (header.uid().unwrap(), header.gid().unwrap());
                (
                    path,
                    header.mode().unwrap(),
                    owner,
                    header.mtime().unwrap(),
                    header.size().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            headers,
            [(
                "kinject-1/bin/kinject".to_owned(),
                0o755,
                (0, 0),
                1_700_000_000,
                4
            )]
        );
    }
}
