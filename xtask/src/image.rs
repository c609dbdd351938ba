//! An OCI image around one program, built without a container engine: a layer with what the program needs, a layer with the
//! program. The same files give the same digest, whoever builds it and when.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

mod debian;
mod layout;
mod tar;
mod tree;

use layout::Image;
use tree::Tree;

/// Folder of the program in the image.
const PROGRAMS: &str = "usr/local/bin";

/// Builds an OCI image around one program and prints its digest
#[derive(clap::Args)]
pub struct Args {
    /// Repository and tag, as in registry.example/millstream:0.1.0
    #[arg(long)]
    name: String,
    /// What the image runs; without it the image is the base alone, for a Dockerfile to build upon
    #[arg(long)]
    program: Option<PathBuf>,
    /// The archive to write, in OCI layout
    #[arg(long)]
    output: PathBuf,
    /// What is below the program
    #[arg(long, value_enum, default_value_t = Base::Debian)]
    base: Base,
    /// Do not compress the layers: sooner done, and good enough for a cluster on the same machine
    #[arg(long)]
    plain: bool,
}

/// What an image has below its program.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Base {
    /// Nothing: for a program that needs no library
    None,
    /// The C and C++ libraries, certificates and time zones of this machine's Debian; no shell, no package manager
    Debian,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let mut layers = Vec::new();
    if args.base == Base::Debian {
        layers.push(debian::tree()?);
    }
    let mut entrypoint = None;
    if let Some(program) = &args.program {
        let name = program.file_name().and_then(|name| name.to_str()).context("--program names no file")?;
        let path = format!("{PROGRAMS}/{name}");
        let mut tree = Tree::default();
        tree.file(&path, 0o755, contents(program, args.base, &layers)?);
        layers.push(tree);
        entrypoint = Some(format!("/{path}"));
    }
    let image = Image { name: args.name.clone(), layers, entrypoint, is_plain: args.plain };
    let digest = image.write(&args.output)?;
    println!("{digest}");
    Ok(())
}

fn contents(program: &Path, base: Base, layers: &[Tree]) -> Result<Vec<u8>> {
    if base == Base::Debian {
        check_libraries(program, layers)?;
        return stripped(program);
    }
    fs::read(program).with_context(|| format!("cannot read {}", program.display()))
}

/// The program without symbols and debug information.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let to = folder.path().join("stripped");
    output(Command::new("strip").arg("-o").arg(&to).arg(program))?;
    Ok(fs::read(&to)?)
}

/// Whether every library that the program names is in a layer: else it would fail in the cluster and nowhere before.
fn check_libraries(program: &Path, layers: &[Tree]) -> Result<()> {
    let dynamic = output(Command::new("readelf").arg("--dynamic").arg("--wide").arg(program))?;
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    let needed = needed.filter_map(|line| line.split_once('[')?.1.split_once(']').map(|(library, _)| library));
    let lacking: Vec<_> = needed.filter(|library| !layers.iter().any(|layer| layer.has_name(library))).collect();
    ensure!(
        lacking.is_empty(),
        "{} needs {}, which no package of the base brings; add it to xtask/src/image/debian.rs",
        program.display(),
        lacking.join(", ")
    );
    Ok(())
}

/// What a command printed; an error with what it said if it failed.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}; scripts/setup.sh installs it"))?;
    if !output.status.success() {
        bail!("{program}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
