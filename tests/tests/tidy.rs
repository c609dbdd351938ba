//! The rules of the house hold in this repository.
use std::path::Path;

use millstream_tests::tidy::{RULES, tree};

#[test]
fn the_house_is_tidy() {
    let files = tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    for expected in ["Cargo.toml", "README.md", "api/src/lib.rs", "tests/tests/tidy.rs"] {
        assert!(files.iter().any(|file| file.path == expected), "the tree was not read: {expected} is missing");
    }
    let mut broken = String::new();
    for (name, rule) in RULES {
        let findings = rule(&files);
        if !findings.is_empty() {
            broken.push_str(&format!("\n{name}:\n"));
            findings.iter().for_each(|finding| broken.push_str(&format!("  {finding}\n")));
        }
    }
    assert!(broken.is_empty(), "{broken}");
}
