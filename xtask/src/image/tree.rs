//! A file system as a value: what a layer holds.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Paths without a leading slash, in order, each behind its folder.
#[derive(Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

/// What is at a path. Owners and times are the same for all: the image's, not the machine's.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// A folder with its mode.
    Folder(u32),
    /// A file with its mode and bytes.
    File(u32, Vec<u8>),
    /// A symbolic link with its target.
    Link(String),
}

impl Tree {
    /// Adds a file, and the folders above that are not there.
    pub fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.insert(path, Entry::File(mode, bytes.into()));
    }

    /// Adds a folder, or changes its mode.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.insert(path, Entry::Folder(mode));
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        for (at, _) in path.match_indices('/') {
            self.entries.entry(path[..at].to_owned()).or_insert(Entry::Folder(0o755));
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Adds all below a folder of this machine, except where `keep` says no to a path.
    pub fn copy(&mut self, from: &Path, keep: &dyn Fn(&str) -> bool) -> Result<()> {
        self.copy_below(from, "", keep)
    }

    fn copy_below(&mut self, root: &Path, folder: &str, keep: &dyn Fn(&str) -> bool) -> Result<()> {
        let here = root.join(folder);
        for entry in fs::read_dir(&here).with_context(|| format!("cannot list {}", here.display()))? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a file name that is not UTF-8")?;
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if !keep(&path) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                let target = fs::read_link(entry.path())?.into_os_string().into_string().ok();
                self.insert(&path, Entry::Link(target.context("a link whose target is not UTF-8")?));
            } else if kind.is_dir() {
                // An empty folder is no loss; others come with what is in them.
                self.copy_below(root, &path, keep)?;
            } else {
                let is_program = entry.metadata()?.permissions().mode() & 0o111 != 0;
                self.file(&path, if is_program { 0o755 } else { 0o644 }, fs::read(entry.path())?);
            }
        }
        Ok(())
    }

    /// All entries in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Whether some path ends in this name.
    pub fn has_name(&self, name: &str) -> bool {
        self.entries.keys().any(|path| path.rsplit('/').next() == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them() {
        let mut tree = Tree::default();
        tree.file("usr/local/bin/x", 0o755, *b"x");
        tree.folder("tmp", 0o1777);
        let paths: Vec<_> = tree.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["tmp", "usr", "usr/local", "usr/local/bin", "usr/local/bin/x"]);
        assert!(tree.has_name("x") && !tree.has_name("y"));
    }

    #[test]
    fn a_copy_keeps_links_and_the_right_to_run_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("bin")).unwrap();
        fs::write(path("bin/program"), "p").unwrap();
        fs::set_permissions(path("bin/program"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::write(path("left"), "l").unwrap();
        std::os::unix::fs::symlink("program", path("bin/link")).unwrap();
        let mut tree = Tree::default();
        tree.copy(folder.path(), &|path| path != "left").unwrap();
        let entries: Vec<_> = tree.entries().collect();
        let expected = [
            ("bin", &Entry::Folder(0o755)),
            ("bin/link", &Entry::Link("program".to_owned())),
            ("bin/program", &Entry::File(0o755, b"p".to_vec())),
        ];
        assert_eq!(entries, expected);
    }
}
