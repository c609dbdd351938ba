//! Versions are chosen once, in the root manifest, and every dependency comes from a registry.
use super::{File, Finding};

/// Applies the rule.
pub fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let is_member = file.path.ends_with("/Cargo.toml");
        if file.path == "Cargo.lock" {
            for (at, line) in file.text.lines().enumerate().filter(|(_, line)| line.starts_with("source = \"git+")) {
                findings.push(Finding::new(file, at + 1, format!("a git dependency: {line}")));
            }
        } else if is_member || file.path == "Cargo.toml" {
            for (name, value, line) in dependencies(&file.text) {
                if value.contains("git = ") || value.contains("git=") {
                    findings.push(Finding::new(file, line, format!("{name} is a git dependency; take a release")));
                }
                if is_member && !value.contains("workspace = true") {
                    let what = format!("{name} has a version of its own; write {name}.workspace = true");
                    findings.push(Finding::new(file, line, what));
                }
            }
        }
    }
    findings
}

/// Name, rest of the line and line number of every dependency in a manifest, in each of TOML's spellings.
pub fn dependencies(manifest: &str) -> impl Iterator<Item = (String, &str, usize)> {
    let mut section = "";
    manifest.lines().enumerate().filter_map(move |(at, line)| {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            // `[dependencies.name]`: what follows is about one dependency.
            return None;
        }
        let (key, _) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        if section.ends_with("dependencies") {
            let name = key.trim().split('.').next()?;
            return Some((name.trim_matches('"').to_owned(), line, at + 1));
        }
        let name = section.rsplit_once("dependencies.")?.1;
        // The version or origin of a dependency with a section of its own.
        matches!(key.trim(), "workspace" | "version" | "git" | "path").then(|| (name.to_owned(), line, at + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&[File::new(path, text)]).len()
    }

    #[test]
    fn versions_in_members_are_found_in_every_spelling() {
        for text in [
            "[dependencies]\nserde = \"1\"",
            "[dev-dependencies]\nserde = { version = \"1\", features = [\"derive\"] }",
            "[target.'cfg(unix)'.dependencies]\nserde.version = \"1\"",
            "[dependencies.serde]\nversion = \"1\"",
            "[build-dependencies]\nserde = { path = \"../serde\" }",
        ] {
            assert_eq!(count("api/Cargo.toml", text), 1, "{text}");
        }
        let fine = "[package]\nversion.workspace = true\nname = \"x\"\n[dependencies]\n# serde = \"1\"\nserde.workspace = true\n\
                    arrow = { workspace = true }\n[dependencies.bytes]\nworkspace = true\nfeatures = []\n";
        assert_eq!(count("api/Cargo.toml", fine), 0);
        assert_eq!(count("Cargo.toml", "[workspace.dependencies]\nserde = \"1\""), 0);
    }

    #[test]
    fn git_dependencies_are_found() {
        assert_eq!(count("Cargo.toml", "[workspace.dependencies]\nx = { git = \"https://example.org/x\" }"), 1);
        assert_eq!(count("Cargo.toml", "[workspace.dependencies.x]\ngit = \"https://example.org/x\""), 1);
        assert_eq!(count("Cargo.lock", "name = \"x\"\nsource = \"git+https://example.org/x\"\n"), 1);
        assert_eq!(count("Cargo.lock", "source = \"registry+https://example.org\"\n"), 0);
    }
}
