//! Files of a database folder and of a cut.
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{CutFile, Error};
use crate::state::disk::{Disk, RealDisk};

/// The file every database has; it names the manifest.
const CURRENT: &str = "CURRENT";

fn disk_error(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path: PathBuf = path.to_path_buf();
    move |source| Error::Disk { attempt, path, source }
}

fn is_table(name: &str) -> bool {
    Path::new(name).extension() == Some(OsStr::new("sst"))
}

/// Makes a folder and refuses one with files in it.
pub(super) fn make_empty(folder: &Path) -> Result<(), Error> {
    RealDisk.create_folder(folder).map_err(disk_error("make the folder", folder))?;
    let files = RealDisk.files(folder).map_err(disk_error("list", folder))?;
    match files.first() {
        None => Ok(()),
        Some((name, _)) => Err(Error::Backend {
            attempt: "make a store",
            reason: format!("its folder {} is not empty: it has {name}", folder.display()),
        }),
    }
}

/// Makes the folders above `folder`.
pub(super) fn make_parent(folder: &Path) -> Result<(), Error> {
    let parent = folder.parent().unwrap_or(folder);
    RealDisk.create_folder(parent).map_err(disk_error("make the folder", parent))
}

/// Refuses a folder that holds no cut.
pub(super) fn check_cut(cut: &Path) -> Result<(), Error> {
    let current = cut.join(CURRENT);
    match current.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Corrupt(format!("there is no {}", current.display()))),
        Err(error) => Err(disk_error("look for", &current)(error)),
    }
}

/// Brings the files of a cut into the folder of a new store: tables, which never change, as links, all else as copies.
pub(super) fn link(cut: &Path, folder: &Path) -> Result<(), Error> {
    for (name, _) in RealDisk.files(cut).map_err(disk_error("list", cut))? {
        let (from, to) = (cut.join(&name), folder.join(&name));
        let done = if is_table(&name) { RealDisk.link(&from, &to) } else { std::fs::copy(&from, &to).map(|_| ()) };
        done.map_err(disk_error("bring into a store", &from))?;
    }
    Ok(())
}

/// The files that a cut needs. Options and an empty log, which RocksDB adds, are removed.
pub(super) fn of_cut(folder: &Path) -> Result<Vec<CutFile>, Error> {
    let mut files = Vec::new();
    for (name, bytes) in RealDisk.files(folder).map_err(disk_error("list", folder))? {
        let path = folder.join(&name);
        if is_table(&name) || name == CURRENT || name.starts_with("MANIFEST-") {
            let immutable = is_table(&name);
            files.push(CutFile { name, path, bytes, immutable });
        } else {
            std::fs::remove_file(&path).map_err(disk_error("remove", &path))?;
        }
    }
    Ok(files)
}
