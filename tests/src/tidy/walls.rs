//! Which code may name which crate. The walls of ARCHITECTURE.md, checked in manifests and in every path of the sources.
use super::lexer::{Token, tokens_without_tests};
use super::{File, Finding};

/// Code that lives under one of `inside`, except under one of `except`, does not name any of `names`.
struct Wall {
    inside: &'static [&'static str],
    except: &'static [&'static str],
    names: &'static [&'static str],
    reason: &'static str,
}

const ALL: &[&str] = &["api/", "cli/", "operator/", "runtime/", "xtask/"];

const WALLS: &[Wall] = &[
    Wall {
        inside: &["operator/"],
        except: &[],
        names: &["millstream_runtime", "millstream_sql", "datafusion", "arrow", "rocksdb"],
        reason: "the operator never carries a record",
    },
    Wall {
        inside: &["runtime/"],
        except: &[],
        names: &["kube", "k8s_openapi", "millstream_operator"],
        reason: "the runtime never talks to the Kubernetes API",
    },
    Wall {
        inside: &["api/"],
        except: &["api/Cargo.toml", "api/src/crd", "api/src/job/spec.rs"],
        names: &["kube", "k8s_openapi", "millstream_operator"],
        reason: "only the resources, behind the feature crd, know Kubernetes",
    },
    Wall {
        inside: ALL,
        except: &["runtime/sql/"],
        names: &["datafusion"],
        reason: "one crate names DataFusion: runtime/sql",
    },
    Wall {
        inside: ALL,
        except: &["runtime/src/state/rocks", "runtime/Cargo.toml"],
        names: &["rocksdb"],
        reason: "only the RocksDB store names rocksdb",
    },
    Wall {
        inside: &["api/"],
        except: &[],
        names: &["tokio", "reqwest", "axum", "hyper"],
        reason: "the vocabulary does no I/O",
    },
    Wall {
        inside: PURE,
        except: &[],
        names: &[
            "tokio",
            "reqwest",
            "axum",
            "object_store",
            "getrandom",
            "std::time::Instant",
            "std::time::SystemTime",
            "std::fs",
            "std::net",
            "std::thread",
        ],
        reason: "pure code: facts in, decision out; time, randomness, network and disk come in through the doors",
    },
];

/// Code without time, randomness, network or disk. A prefix of paths each.
const PURE: &[&str] = &[
    "api/src/",
    "operator/src/autoscale",
    "runtime/src/checkpoint/manifest",
    "runtime/src/coordinator/protocol",
    "runtime/src/rescale",
    "runtime/src/stage",
];

/// Applies the rule.
pub fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let named = match file {
            _ if file.path.ends_with("/Cargo.toml") => dependencies(&file.text),
            _ if file.is_rust() && !file.is_test() => paths(&tokens_without_tests(&file.text)),
            _ => continue,
        };
        for wall in WALLS.iter().filter(|wall| wall.holds_in(&file.path)) {
            for (path, line) in &named {
                if wall.names.iter().any(|name| path == name || path.starts_with(&format!("{name}::"))) {
                    findings.push(Finding::new(file, *line, format!("names {path}, but {}", wall.reason)));
                }
            }
        }
    }
    findings
}

impl Wall {
    fn holds_in(&self, path: &str) -> bool {
        let under = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        under(self.inside) && !under(self.except)
    }
}

/// Crates a manifest depends on, spelled as in code.
fn dependencies(manifest: &str) -> Vec<(String, usize)> {
    super::manifests::dependencies(manifest).map(|(name, _, line)| (name.replace('-', "_"), line)).collect()
}

/// Every path in the code with its line, those of `use` trees flattened.
fn paths(tokens: &[Token<'_>]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_start = is_name(tokens[at].text) && (at == 0 || tokens[at - 1].text != "::");
        if is_start && tokens.get(at + 1).is_some_and(|next| next.text == "::") {
            at = tree(tokens, at, String::new(), &mut found);
        } else {
            if tokens[at].text == "use" && tokens.get(at + 1).is_some_and(|next| is_name(next.text)) {
                found.push((tokens[at + 1].text.to_owned(), tokens[at + 1].line));
            }
            at += 1;
        }
    }
    found
}

/// Reads the path or use tree at `at` and gives the index after it.
fn tree(tokens: &[Token<'_>], mut at: usize, mut prefix: String, found: &mut Vec<(String, usize)>) -> usize {
    let line = tokens[at].line;
    while let Some(token) = tokens.get(at) {
        if token.text == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|token| token.text != "}") {
                at = if is_name(tokens[at].text) { tree(tokens, at, prefix.clone(), found) } else { at + 1 };
            }
            return at + 1;
        }
        if !is_name(token.text) {
            break;
        }
        if !prefix.is_empty() {
            prefix.push_str("::");
        }
        prefix.push_str(token.text);
        at += 1;
        if tokens.get(at).is_none_or(|next| next.text != "::") {
            break;
        }
        at += 1;
    }
    found.push((prefix, line));
    at
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&[File::new(path, text)])
            .into_iter()
            .map(|finding| format!("{}: {}", finding.line, finding.what))
            .collect()
    }

    #[test]
    fn every_wall_stops_what_it_is_for() {
        for (path, text) in [
            ("operator/src/lib.rs", "use millstream_runtime::batch::Batch;"),
            ("operator/Cargo.toml", "[dependencies]\nmillstream-runtime.workspace = true"),
            ("runtime/src/worker.rs", "use kube::Client;"),
            ("runtime/Cargo.toml", "[dependencies]\nkube = { workspace = true }"),
            ("runtime/src/batch.rs", "fn f() -> datafusion::error::Result<()> { todo() }"),
            ("cli/src/main.rs", "use datafusion::prelude::*;"),
            ("runtime/src/state/memory.rs", "use rocksdb::DB;"),
            ("api/src/lib.rs", "use tokio::sync::mpsc;"),
            ("api/src/job.rs", "use kube::Resource;"),
            ("api/Cargo.toml", "[dev-dependencies]\nreqwest.workspace = true"),
            ("runtime/src/stage.rs", "use std::{collections::HashMap, time::{Duration, Instant}};"),
            ("runtime/src/stage/window.rs", "fn f() { let _ = std::fs::read(\"x\"); }"),
            ("runtime/src/stage/join.rs", "select! { x = tokio::spawn(f) => {} }"),
            ("operator/src/autoscale/window.rs", "use std::time::SystemTime as Now;"),
            ("runtime/src/coordinator/protocol.rs", "use getrandom;"),
            ("runtime/src/checkpoint/manifest.rs", "use std::net::{self, TcpStream};"),
        ] {
            assert!(!findings(path, text).is_empty(), "{path}: {text}");
        }
    }

    #[test]
    fn what_is_allowed_passes() {
        for (path, text) in [
            ("runtime/sql/src/plan.rs", "use datafusion::prelude::*;"),
            ("runtime/src/state/rocks.rs", "use rocksdb::DB;"),
            ("runtime/src/state/rocks/options.rs", "use rocksdb::Options;"),
            ("runtime/Cargo.toml", "[dependencies]\nrocksdb.workspace = true"),
            ("runtime/src/worker.rs", "use std::time::Instant; use tokio::sync::mpsc;"),
            ("runtime/src/stage.rs", "use std::time::Duration; // tokio::spawn\n#[cfg(test)] mod t { use std::fs; }"),
            ("runtime/src/stage/tests.rs", "use std::fs;"),
            ("tests/tests/oracle.rs", "use datafusion::prelude::*;"),
            ("api/src/crd/status.rs", "use k8s_openapi::Resource;"),
            ("api/src/lib.rs", "let tokio = my::tokio::x;"),
        ] {
            assert_eq!(findings(path, text), Vec::<String>::new(), "{path}: {text}");
        }
    }

    #[test]
    fn a_finding_names_path_line_and_reason() {
        let text = "use std::{\n    collections::BTreeMap,\n    fs,\n};";
        assert_eq!(findings("api/src/x.rs", text).len(), 1);
        assert!(findings("api/src/x.rs", text)[0].starts_with("3: names std::fs, but pure code"));
    }
}
