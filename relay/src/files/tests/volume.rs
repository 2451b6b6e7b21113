//! Volumes as a kubelet writes them, and what stands in a folder.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A volume as a kubelet writes it (AtomicWriter): files in a new folder, a link to it by one rename, a link for each
/// key.
pub(super) struct Volume {
    pub(super) path: PathBuf,
    version: usize,
}

impl Volume {
    pub(super) fn new(path: PathBuf, keys: &[(&str, &str)]) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mut volume = Self { path, version: 0 };
        volume.write(keys);
        volume
    }

    /// Changes its keys.
    pub(super) fn write(&mut self, keys: &[(&str, &str)]) {
        self.version += 1;
        let name = format!("..2026_11_28_12_00_00.{}", self.version);
        let (data, new) = (self.path.join("..data"), self.path.join(&name));
        let old = fs::read_link(&data).ok();
        fs::create_dir(&new).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        for (key, value) in keys {
            let path = new.join(key);
            fs::write(&path, value).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        }
        symlink(&name, self.path.join("..data_tmp")).unwrap();
        fs::rename(self.path.join("..data_tmp"), &data).unwrap();
        for (key, _) in keys {
            if self.path.join(key).symlink_metadata().is_err() {
                symlink(format!("..data/{key}"), self.path.join(key)).unwrap();
            }
        }
        for entry in fs::read_dir(&self.path).unwrap() {
            let entry = entry.unwrap();
            let key = entry.file_name().into_string().unwrap();
            let is_link = entry.file_type().unwrap().is_symlink();
            if is_link && !key.starts_with("..") && !keys.iter().any(|(kept, _)| *kept == key) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.path.join(old)).unwrap();
        }
    }
}

/// What stands below a folder, as text: path, mode, time, and the content or target.
pub(super) fn listing(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    list(folder, folder, &mut lines);
    lines.sort();
    lines
}

fn list(root: &Path, path: &Path, lines: &mut Vec<String>) {
    let found = path.symlink_metadata().unwrap();
    let what = if found.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else if found.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            list(root, &entry.unwrap().path(), lines);
        }
        "folder".to_owned()
    } else {
        format!("{:?}", fs::read_to_string(path).unwrap())
    };
    let shown = path.strip_prefix(root).unwrap();
    lines.push(format!(
        "{} {:o} {}.{:09} {what}",
        shown.display(),
        found.mode(),
        found.mtime(),
        found.mtime_nsec()
    ));
}
