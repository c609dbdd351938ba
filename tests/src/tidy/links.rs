//! Links in the documentation lead to files and headings that exist.
use std::collections::BTreeSet;

use super::{File, Finding};

/// Applies the rule.
pub fn check(files: &[File]) -> Vec<Finding> {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for file in files {
        known.insert(&file.path);
        known.extend(file.path.match_indices('/').map(|(at, _)| &file.path[..at]));
    }
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (target, line) in links(&file.text) {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { file.path.clone() } else { resolve(&file.path, path) };
            if !known.contains(path.as_str()) {
                findings.push(Finding::new(file, line, format!("link to {target}, which does not exist")));
            } else if !heading.is_empty() && !has_heading(files, &path, heading) {
                findings.push(Finding::new(file, line, format!("link to {target}: there is no such heading")));
            }
        }
    }
    findings
}

/// Targets of links to files, with their lines. Fenced blocks are text.
fn links(text: &str) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    for (at, line) in text.lines().enumerate() {
        is_fenced ^= line.trim_start().starts_with("```");
        if is_fenced {
            continue;
        }
        for (start, _) in line.match_indices("](") {
            let target = &line[start + 2..];
            let target = target[..target.find(')').unwrap_or(target.len())].trim();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push((target, at + 1));
            }
        }
    }
    found
}

/// `link` as seen from `from`, as a path from the root.
fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn has_heading(files: &[File], path: &str, heading: &str) -> bool {
    let Some(file) = files.iter().find(|file| file.path == path) else { return false };
    file.text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading)
}

/// The anchor that a forge gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        check(&[
            File::new("docs/sql.md", text),
            File::new("README.md", "# Read `me` first\n"),
            File::new("api/src/lib.rs", ""),
        ])
        .len()
    }

    #[test]
    fn dead_links_are_found() {
        for text in ["[x](missing.md)", "see [x](../api/src/gone.rs) now", "[x](../README.md#nothing)", "[x](#nowhere)"]
        {
            assert_eq!(count(text), 1, "{text}");
        }
    }

    #[test]
    fn good_links_pass() {
        let text = "# Here\n[a](../README.md#read-me-first) [b](../api/src/) [c](https://example.org/x) [d](#here)\n```\n[e](no)\n```\n";
        assert_eq!(count(text), 0);
    }
}
