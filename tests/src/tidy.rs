//! The rules of the house, as functions from the tree of files to findings. `tests/tidy.rs` applies them to this
//! repository; each rule's own tests plant a violation and see it found.
use std::fmt;
use std::io;
use std::path::Path;

pub mod lexer;
pub mod links;
pub mod manifests;
pub mod sizes;
pub mod walls;
pub mod words;

/// A text file of the repository.
#[derive(Debug, Clone)]
pub struct File {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl File {
    /// A file by its path and text.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether all of it is test code: in the tests crate, or a module file of tests.
    pub fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/") || self.path.contains("/tests/") || name.ends_with("tests.rs")
    }
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which file.
    pub path: String,
    /// Where in it; 0 = the file as a whole.
    pub line: usize,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Finding {
    /// A finding at a line of a file.
    pub fn new(file: &File, line: usize, what: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// A rule over the whole tree.
pub type Rule = fn(&[File]) -> Vec<Finding>;

/// Every rule with its name.
pub const RULES: &[(&str, Rule)] = &[
    ("files and functions are small", sizes::check),
    ("dependencies point one way", walls::check),
    ("no unfinished marks, ignored tests, prints in libraries, vague names or machine paths", words::check),
    ("versions live in the root manifest, and none is a git dependency", manifests::check),
    ("links lead somewhere", links::check),
];

/// Folders at the root that hold nothing of the repository's own.
const FOREIGN: &[&str] = &[".git", "target", "out"];

/// All text files under `root`, sorted by path. Symbolic links are not followed; files that are not UTF-8 are left out.
pub fn tree(root: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() && !FOREIGN.contains(&path.as_str()) {
                folders.push(path);
            } else if kind.is_file() && path != ".git" {
                match std::fs::read_to_string(entry.path()) {
                    Ok(text) => files.push(File { path, text }),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}
