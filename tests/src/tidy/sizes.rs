//! Files of at most 400 lines, functions of at most 70: what does not fit on a page is two things.
use super::lexer::{Token, end_of_item, tokens};
use super::{File, Finding};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that may be longer, with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Applies the rule.
pub fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        check_file(file, LONG_FILES, &mut findings);
        check_functions(file, &mut findings);
    }
    findings
}

fn check_file(file: &File, allowed: &[(&str, &str)], findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    let is_allowed = allowed.iter().any(|(path, _)| *path == file.path);
    if lines > FILE_LINES_MAX && !is_allowed {
        findings.push(Finding::new(file, 0, format!("{lines} lines; split it (limit {FILE_LINES_MAX})")));
    }
    if lines <= FILE_LINES_MAX && is_allowed {
        findings.push(Finding::new(file, 0, "within the limit again; take it off the list of long files"));
    }
}

fn check_functions(file: &File, findings: &mut Vec<Finding>) {
    for (name, from, to) in functions(&tokens(&file.text)) {
        let lines = to - from + 1;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("fn {name} has {lines} lines; split it (limit {FUNCTION_LINES_MAX})");
            findings.push(Finding::new(file, from, what));
        }
    }
}

/// Name, first and last line of every function with a body.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, usize, usize)> {
    let mut found = Vec::new();
    for at in 0..tokens.len().saturating_sub(1) {
        // `fn(` is a type.
        if tokens[at].text == "fn" && tokens[at + 1].text != "(" {
            let last = end_of_item(tokens, at).saturating_sub(1);
            found.push((tokens[at + 1].text, tokens[at].line, tokens[last].line));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, lines: usize) -> String {
        format!("fn {name}(x: [u8; 2]) {{\n{}}}\n", "    g(\"}\");\n".repeat(lines - 2))
    }

    #[test]
    fn a_long_file_is_found_unless_allowed() {
        let long = File::new("a.rs", "x;\n".repeat(401));
        assert_eq!(check(std::slice::from_ref(&long)).len(), 1);
        let mut findings = Vec::new();
        check_file(&long, &[("a.rs", "a table")], &mut findings);
        assert!(findings.is_empty());
        check_file(&File::new("a.rs", "x;\n".repeat(400)), &[("a.rs", "a table")], &mut findings);
        assert_eq!(findings.len(), 1, "an allowance nobody needs goes");
        assert!(check(&[File::new("a.sql", "x;\n".repeat(401))]).is_empty());
    }

    #[test]
    fn a_long_function_is_found_with_its_line() {
        let text = format!("type F = fn(u8);\nmod m {{\n{}{}}}\n", function("short", 70), function("long", 71));
        let findings = check(&[File::new("a.rs", text)]);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].line, findings[0].what.starts_with("fn long has 71 lines")), (73, true));
    }

    #[test]
    fn a_declaration_has_no_body() {
        let text = format!("trait T {{ fn f(&self) -> [u8; 4]; }}\n{}", "const X: u8 = 1;\n".repeat(100));
        assert!(check(&[File::new("a.rs", text)]).is_empty());
    }
}
