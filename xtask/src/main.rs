//! Generates what is derived from the code: the definitions of the custom resources and the reference of their fields, the
//! OpenAPI document of a job's API, and the reference of settings, connector options and metrics. Generated files are
//! committed; `--check` says whether they are true. `image` builds the image.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

mod image;
mod job;
mod reference;
mod resource;
mod yaml;

/// Generates derived files
#[derive(Parser)]
struct Args {
    /// Change nothing; fail if a file is not what would be generated
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Task>,
}

/// What else there is to do.
#[derive(Subcommand)]
enum Task {
    Image(image::Args),
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(Task::Image(args)) = args.command {
        return image::run(&args);
    }
    let root = root()?;
    let openapi = millstream_runtime::coordinator::api::openapi().to_pretty_json().context("cannot write OpenAPI")?;
    let mut files = resource::files()?;
    files.push(("docs/job-reference.md".to_owned(), job::markdown()));
    files.push(("docs/openapi.json".to_owned(), openapi + "\n"));
    files.push(("docs/reference.md".to_owned(), reference::markdown()));
    let mut stale = Vec::new();
    for (path, text) in files {
        if !keep(&root.join(&path), &text, args.check)? {
            stale.push(path);
        }
    }
    if !stale.is_empty() {
        bail!("{} not what the code says; run `make generate` and commit", stale.join(" and "));
    }
    Ok(())
}

/// The root of the repository: the nearest folder above with a Cargo.lock.
fn root() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    Ok(found.context("run this inside the repository")?.to_owned())
}

/// Writes the file if it differs; with `check` it only says whether it does not.
fn keep(path: &Path, text: &str, check: bool) -> Result<bool> {
    let same = std::fs::read_to_string(path).is_ok_and(|found| found == text);
    if !same && !check {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        return Ok(true);
    }
    Ok(same)
}
