//! Words and names that do not belong in the tree.
use super::lexer::{Token, starts_with, tokens, tokens_without_tests};
use super::{File, Finding};

/// Module names that say nothing about what is inside.
const VAGUE: &[&str] = &["common", "helper", "helpers", "manager", "misc", "util", "utils"];
const UNFINISHED: &[&str] = &["dbg", "todo", "unimplemented"];
const PRINTS: &[&str] = &["eprint", "eprintln", "print", "println"];
const LIBRARIES: &[&str] = &["api/", "operator/", "runtime/"];
/// Where one machine keeps its things. In halves, so that this file passes.
const MACHINE: &[&str] = &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Use", "rs/"), concat!("/wo", "rk/")];

/// Applies the rule.
pub fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        check_machine_paths(file, &mut findings);
        if file.is_rust() {
            check_name(file, &mut findings);
            check_marks(file, &mut findings);
            check_prints(file, &mut findings);
        }
    }
    findings
}

fn check_name(file: &File, findings: &mut Vec<Finding>) {
    let parts = file.path.trim_end_matches(".rs").split('/');
    for part in parts.filter(|part| VAGUE.contains(part)) {
        findings.push(Finding::new(file, 0, format!("a module named {part} says nothing; name what it holds")));
    }
    if file.path.ends_with("/mod.rs") {
        findings.push(Finding::new(file, 0, "write foo.rs beside foo/, not foo/mod.rs"));
    }
}

fn check_marks(file: &File, findings: &mut Vec<Finding>) {
    let tokens = tokens(&file.text);
    for (name, line) in macros(&tokens, UNFINISHED) {
        findings.push(Finding::new(file, line, format!("{name}! is not for what is committed")));
    }
    for (at, token) in tokens.iter().enumerate() {
        if starts_with(&tokens[at..], &["#", "[", "ignore"]) {
            findings.push(Finding::new(file, token.line, "an ignored test tests nothing; mend it or remove it"));
        }
    }
}

fn check_prints(file: &File, findings: &mut Vec<Finding>) {
    if file.is_test() || !LIBRARIES.iter().any(|library| file.path.starts_with(library)) {
        return;
    }
    for (name, line) in macros(&tokens_without_tests(&file.text), PRINTS) {
        findings.push(Finding::new(file, line, format!("{name}! in a library; use tracing, or give it to the caller")));
    }
}

fn macros<'a>(tokens: &[Token<'a>], names: &[&str]) -> Vec<(&'a str, usize)> {
    let is_macro = |pair: &&[Token<'a>]| names.contains(&pair[0].text) && pair[1].text == "!";
    // `x != y` after a variable of such a name is no macro.
    let is_call = |at: usize| tokens.get(at + 2).is_some_and(|next| matches!(next.text, "(" | "[" | "{"));
    let pairs = tokens.windows(2).enumerate().filter(|(at, pair)| is_macro(pair) && is_call(*at));
    pairs.map(|(_, pair)| (pair[0].text, pair[0].line)).collect()
}

fn check_machine_paths(file: &File, findings: &mut Vec<Finding>) {
    for (at, line) in file.text.lines().enumerate() {
        // Only where a path begins: the middle of a relative path or of an address is none.
        let begins = |index: usize| !line[..index].ends_with(|c: char| c.is_alphanumeric() || "._-~}$*/".contains(c));
        for name in MACHINE {
            if line.match_indices(name).any(|(index, _)| begins(index)) {
                findings.push(Finding::new(file, at + 1, format!("{name} is a path of one machine")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&[File::new(path, text)]).len()
    }

    #[test]
    fn marks_are_found_in_code_and_not_in_text() {
        for text in [
            "fn f() { todo!() }",
            "unimplemented!(\"later\")",
            "x(dbg!(y))",
            "#[test]\n#[ignore]\nfn f() {}",
            "#[ignore = \"slow\"]",
        ] {
            assert_eq!(count("cli/src/a.rs", text), 1, "{text}");
        }
        for text in ["// todo!()", "let x = \"dbg!(1)\";", "if todo != x {}", "fn ignore() {}"] {
            assert_eq!(count("cli/src/a.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn prints_are_for_the_command_line_and_tests() {
        assert_eq!(count("runtime/src/a.rs", "println!(\"x\")"), 1);
        assert_eq!(count("operator/src/a.rs", "eprintln!(\"x\")"), 1);
        assert_eq!(count("cli/src/a.rs", "println!(\"x\")"), 0);
        assert_eq!(count("runtime/src/a.rs", "#[cfg(test)] mod tests { fn f() { println!(\"x\") } }"), 0);
    }

    #[test]
    fn vague_names_are_found() {
        for path in ["api/src/utils.rs", "runtime/src/common/batch.rs", "operator/src/manager.rs", "cli/src/run/mod.rs"]
        {
            assert_eq!(count(path, ""), 1, "{path}");
        }
        assert_eq!(count("runtime/src/commonality.rs", ""), 0);
    }

    #[test]
    fn machine_paths_are_found_where_a_path_begins() {
        for name in MACHINE {
            assert_eq!(count("docs/a.md", &format!("see `{name}x`")), 1, "{name}");
            assert_eq!(count("docs/a.md", &format!("see https://example.org{name}x")), 0, "{name}");
        }
    }
}
