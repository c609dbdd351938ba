//! Archives in the POSIX ustar format.
use anyhow::{Context, Result, ensure};

use super::tree::{Entry, Tree};

const BLOCK: usize = 512;
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;

/// All of a tree as an archive.
pub fn archive(tree: &Tree) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (path, entry) in tree.entries() {
        append(&mut bytes, path, entry).with_context(|| format!("cannot archive {path}"))?;
    }
    // Two empty blocks are the end.
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    Ok(bytes)
}

fn append(bytes: &mut Vec<u8>, path: &str, entry: &Entry) -> Result<()> {
    let (kind, mode, content, target) = match entry {
        Entry::Folder(mode) => (b'5', *mode, &[][..], ""),
        Entry::File(mode, content) => (b'0', *mode, content.as_slice(), ""),
        Entry::Link(target) => (b'2', 0o777, &[][..], target.as_str()),
    };
    let path = if kind == b'5' { format!("{path}/") } else { path.to_owned() };
    let (prefix, name) = split(&path)?;
    ensure!(target.len() <= NAME_BYTES, "its target is longer than {NAME_BYTES} bytes");
    let mut header = [0; BLOCK];
    put(&mut header, 0, name.as_bytes());
    put(&mut header, 100, format!("{mode:07o}").as_bytes());
    // User, group, size, time.
    put(&mut header, 108, b"0000000");
    put(&mut header, 116, b"0000000");
    put(&mut header, 124, format!("{:011o}", content.len()).as_bytes());
    put(&mut header, 136, b"00000000000");
    header[156] = kind;
    put(&mut header, 157, target.as_bytes());
    put(&mut header, 257, b"ustar\x0000");
    put(&mut header, 345, prefix.as_bytes());
    // The checksum counts itself as spaces.
    put(&mut header, 148, b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

fn put(header: &mut [u8; BLOCK], at: usize, text: &[u8]) {
    header[at..at + text.len()].copy_from_slice(text);
}

/// A path as prefix and name, cut at a slash so that both fit.
fn split(path: &str) -> Result<(&str, &str)> {
    if path.len() <= NAME_BYTES {
        return Ok(("", path));
    }
    let mut cuts = path.match_indices('/').map(|(at, _)| at);
    let fits = |at: &usize| *at <= PREFIX_BYTES && path.len() - at - 1 <= NAME_BYTES;
    let at = cuts.find(fits).context("its path is too long")?;
    Ok((&path[..at], &path[at + 1..]))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_unpacks_what_was_archived() {
        let long = format!("{}/{}", "folder".repeat(20), "f".repeat(90));
        let mut tree = Tree::default();
        tree.file("a/program", 0o755, vec![7; 513]);
        tree.file("a/empty", 0o600, Vec::new());
        tree.file(&long, 0o644, *b"far away");
        tree.folder("tmp", 0o1777);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.tar"), archive(&tree).unwrap()).unwrap();
        let tar = |args: &[&str]| {
            let output =
                Command::new("tar").args(args).arg("-f").arg("x.tar").current_dir(folder.path()).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let listed = tar(&["-tv", "--numeric-owner", "--utc"]);
        assert!(listed.contains("drwxrwxrwt 0/0               0 1970-01-01 00:00 tmp/"), "{listed}");
        assert!(listed.contains("-rwxr-xr-x 0/0             513 1970-01-01 00:00 a/program"), "{listed}");
        tar(&["-x"]);
        assert_eq!(fs::read(folder.path().join("a/program")).unwrap(), vec![7; 513]);
        assert_eq!(fs::read(folder.path().join(long)).unwrap(), b"far away");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let mut tree = Tree::default();
        tree.file(&"x".repeat(101), 0o644, Vec::new());
        assert!(archive(&tree).is_err());
    }
}
