//! The image is the same whoever builds it, and what the Dockerfile says.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use millstream_tests::process::binary;
use serde_json::Value;

const NAME: &str = "millstream.test/millstream:compared";

/// Runs a command and gives what it printed.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn xtask(args: &[&str], to: &Path) -> Result<String> {
    let program = binary()?.with_file_name("xtask");
    run(Command::new(program).args(["image", "--name", NAME, "--plain"]).args(args).arg("--output").arg(to))
}

/// What an image says about itself, and the folder with all of its files.
fn unpack(archive: &Path, folder: &Path) -> Result<(Value, PathBuf)> {
    let (blobs, files) = (folder.join("blobs"), folder.join("files"));
    fs::create_dir_all(&blobs)?;
    fs::create_dir_all(&files)?;
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&blobs))?;
    let path = |digest: &Value| {
        Ok::<_, anyhow::Error>(blobs.join("blobs").join(digest.as_str().context("no digest")?.replace(':', "/")))
    };
    let read = |path: &Path| Ok::<Value, anyhow::Error>(serde_json::from_slice(&fs::read(path)?)?);
    let index = read(&blobs.join("index.json"))?;
    let manifest = read(&path(&index["manifests"][0]["digest"])?)?;
    for layer in manifest["layers"].as_array().context("no layers")? {
        run(Command::new("tar").arg("-xf").arg(path(&layer["digest"])?).arg("-C").arg(&files))?;
    }
    Ok((read(&path(&manifest["config"]["digest"])?)?, files))
}

#[test]
fn two_builds_give_one_digest() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = binary()?;
    let build = |name: &str| xtask(&["--program", &program.to_string_lossy()], &folder.path().join(name));
    let digest = build("a.tar")?;
    ensure!(digest.starts_with("sha256:") && digest.len() == 72, "{digest}");
    assert_eq!(digest, build("b.tar")?);
    assert!(fs::read(folder.path().join("a.tar"))? == fs::read(folder.path().join("b.tar"))?);
    Ok(())
}

/// The Dockerfile's own base cannot be had everywhere, so this gives it ours.
#[test]
fn the_dockerfile_gives_the_same_image() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let program = binary()?;
    xtask(&["--program", &program.to_string_lossy()], &at("ours.tar"))?;
    xtask(&[], &at("base.tar"))?;
    fs::create_dir(at("context"))?;
    run(Command::new("strip").arg("-o").arg(at("context/millstream")).arg(&program))?;
    let buildah = |command: &str| {
        let mut buildah = Command::new("buildah");
        buildah.args(["--storage-driver", "vfs", "--root"]).arg(at("root")).arg("--runroot").arg(at("runroot"));
        buildah.arg(command);
        buildah
    };
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Dockerfile");
    let base = format!("BASE=oci-archive:{}", at("base.tar").display());
    let mut build = buildah("build");
    build
        .args(["--isolation", "chroot", "--build-arg", &base, "--tag", NAME, "--file"])
        .arg(dockerfile)
        .arg(at("context"));
    run(&mut build)?;
    let archive = format!("oci-archive:{}", at("theirs.tar").display());
    run(buildah("push").args(["--quiet", NAME, &archive]))?;
    let ours = unpack(&at("ours.tar"), &at("ours"))?;
    let theirs = unpack(&at("theirs.tar"), &at("theirs"))?;
    for key in ["User", "Entrypoint", "WorkingDir", "Cmd", "Env"] {
        assert_eq!(ours.0["config"][key], theirs.0["config"][key], "{key}");
    }
    run(Command::new("diff").args(["--recursive", "--no-dereference"]).arg(&ours.1).arg(&theirs.1))?;
    ensure!(ours.1.join("usr/local/bin/millstream").is_file() && ours.1.join("etc/ssl/certs").is_dir());
    Ok(())
}
