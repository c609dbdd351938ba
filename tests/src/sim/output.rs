//! The output folder: what readers see, and whether they may.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use millstream_runtime::checkpoint::manifest::Manifest;

/// Watches a folder that sinks write to.
pub struct Output {
    folder: tempfile::TempDir,
    /// Names of files that a stored manifest promises.
    promised: BTreeSet<String>,
}

impl Output {
    /// A new folder, in memory where the machine has such a place.
    pub fn new() -> std::io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Ok(Self { folder: folder?, promised: BTreeSet::new() })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A manifest is stored: what it promises may be seen.
    pub fn promise(&mut self, manifest: &Manifest) {
        let tasks = manifest.stages.iter().flat_map(|stage| &stage.tasks);
        for committable in tasks.flat_map(|task| &task.committables) {
            if let Some(name) = committable.token["to"].as_str().and_then(|path| Path::new(path).file_name()) {
                self.promised.insert(name.to_string_lossy().into_owned());
            }
        }
    }

    /// No file is visible that no stored manifest promises.
    pub fn check(&self) -> Result<(), String> {
        for (name, _) in self.files()?.iter().filter(|(name, _)| !name.starts_with('.')) {
            if !self.promised.contains(name) {
                return Err(format!("{name} is visible, and no stored manifest has it"));
            }
        }
        Ok(())
    }

    /// All lines of all files, sorted. Nothing uncommitted may be left.
    pub fn lines(&self) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        for (name, path) in self.files()? {
            if name.starts_with('.') {
                return Err(format!("{name} is left over"));
            }
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.sort_unstable();
        Ok(lines)
    }

    fn files(&self) -> Result<Vec<(String, PathBuf)>, String> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).map_err(|error| error.to_string())? {
                let path = entry.map_err(|error| error.to_string())?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    found.push((name, path));
                }
            }
        }
        Ok(found)
    }
}
