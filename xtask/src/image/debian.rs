//! What is below the program: a few packages of the Debian of this machine, without what only an installed system needs.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::output;
use super::tree::Tree;

/// The program is linked against these libraries; it reads the certificates, time zones and names of services.
const PACKAGES: &[&str] = &["base-files", "ca-certificates", "libc6", "libgcc-s1", "libstdc++6", "netbase", "tzdata"];
/// Neither programs nor what only they, or people, read.
const LEFT_OUT: &[&str] = &[
    "bin",
    "boot",
    "dev",
    "etc/default",
    "etc/update-motd.d",
    "home",
    "media",
    "mnt",
    "opt",
    "proc",
    "run",
    "sbin",
    "srv",
    "sys",
    "usr/bin",
    "usr/games",
    "usr/sbin",
    "usr/share/base-files",
    "usr/share/bug",
    "usr/share/gcc",
    "usr/share/gdb",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo/posix",
    "usr/share/zoneinfo/right",
    "var/backups",
    "var/local",
    "var/mail",
    "var/spool",
    "var/run",
    "var/lock",
];
const USERS: &str = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n";
const GROUPS: &str = "root:x:0:\nnonroot:x:65532:\n";
/// Files before DNS, and no other source of names.
const NAME_SOURCES: &str = "hosts: files dns\n";

/// The base of the image.
pub fn tree() -> Result<Tree> {
    let unpacked = tempfile::tempdir()?;
    let mut tree = Tree::default();
    for package in packages()? {
        output(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(unpacked.path()))?;
        // What a scanner reads to know which packages are here.
        let control = output(Command::new("dpkg-deb").arg("--field").arg(&package))?;
        let name =
            control.lines().find_map(|line| line.strip_prefix("Package: ")).context("a package without a name")?;
        tree.file(&format!("var/lib/dpkg/status.d/{name}"), 0o644, control.clone());
    }
    tree.copy(unpacked.path(), &is_kept)?;
    tree.file("etc/ssl/certs/ca-certificates.crt", 0o644, certificates(unpacked.path())?);
    tree.file("etc/passwd", 0o644, USERS);
    tree.file("etc/group", 0o644, GROUPS);
    tree.file("etc/nsswitch.conf", 0o644, NAME_SOURCES);
    tree.folder("tmp", 0o1777);
    Ok(tree)
}

fn is_kept(path: &str) -> bool {
    let is_left_out = LEFT_OUT.contains(&path);
    let is_conversion = path.ends_with("/gconv") || path.ends_with("/audit");
    // Of the documentation the licences stay.
    let is_read = path.starts_with("usr/share/doc/") && path.matches('/').count() > 3 && !path.ends_with("/copyright");
    !(is_left_out || is_conversion || is_read)
}

/// The packages' files, fetched and verified by apt once per version.
fn packages() -> Result<Vec<PathBuf>> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folder = cache.context("HOME is not set")?.join("millstream/debian");
    fs::create_dir_all(&folder)?;
    // Elsewhere: of packages whose files it sees, apt tells nothing.
    let elsewhere = tempfile::tempdir()?;
    let files: Vec<_> = locate(elsewhere.path())?.into_iter().map(|name| folder.join(name)).collect();
    if files.iter().any(|file| !file.exists()) {
        output(&mut download(&folder))?;
    }
    let lacking = files.iter().find(|file| !file.exists());
    ensure!(
        lacking.is_none(),
        "apt-get has not brought {}",
        lacking.map_or(String::new(), |file| file.display().to_string())
    );
    Ok(files)
}

/// File names of the packages' newest versions that apt knows.
fn locate(folder: &Path) -> Result<Vec<String>> {
    let found = output(download(folder).arg("--print-uris")).or_else(|_| {
        // A new machine has no lists of packages.
        output(Command::new("apt-get").args(["update", "-qq"]))?;
        output(download(folder).arg("--print-uris"))
    })?;
    // 'address' name size hash
    let mut names: Vec<_> = found.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect();
    names.sort();
    ensure!(names.len() == PACKAGES.len(), "apt-get knows {} of the packages {}", names.len(), PACKAGES.join(", "));
    Ok(names)
}

fn download(folder: &Path) -> Command {
    let mut command = Command::new("apt-get");
    // The user that apt becomes for downloads has no right to the cache folder.
    command.args(["download", "-qq", "-o", "APT::Sandbox::User=root"]).args(PACKAGES).current_dir(folder);
    command
}

/// All certificates in one file, as programs read them.
fn certificates(root: &Path) -> Result<String> {
    let folder = root.join("usr/share/ca-certificates/mozilla");
    let files: Result<Vec<_>, _> = fs::read_dir(&folder)?.map(|entry| Ok::<_, std::io::Error>(entry?.path())).collect();
    let mut files = files?;
    files.sort();
    ensure!(files.len() > 50, "only {} certificates in the package ca-certificates", files.len());
    let mut all = String::new();
    for file in files {
        all.push_str(fs::read_to_string(&file)?.trim_end());
        all.push('\n');
    }
    Ok(all)
}
