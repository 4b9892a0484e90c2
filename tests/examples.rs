//! Every script of sql-examples runs, against the real components where it needs them.

use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("sql-examples")
}

#[test]
fn every_example_has_a_header_and_a_test() {
    let this = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples.rs")).unwrap();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if name == "00_tour_window.sql" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["-- Shows:", "-- Needs:", "-- Gives:"] {
            assert!(text.contains(word), "{name} lacks {word}");
        }
        assert!(this.contains(&name[..2]) && this.contains(&format!("\"{name}\"")) || name.starts_with("00"), "{name} has no test");
    }
}
