//! Who may import whom: the `use` lines of the crates against the table in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Folder of engine to the folders that it may import, from the table in ARCHITECTURE.md. `*` allows `catalog`.
fn law() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut law = BTreeMap::new();
    let mut above = BTreeSet::new();
    let table = text.lines().skip_while(|l| !l.starts_with("| folder | may import |")).skip(2);
    for line in table.take_while(|l| l.starts_with('|')) {
        let cells = line.split('|').map(str::trim).collect::<Vec<_>>();
        let (name, list) = (cells[1].trim_end_matches('*').trim().to_string(), cells[2]);
        let mut allowed: BTreeSet<String> = if list == "all above" {
            above.clone()
        } else {
            list.split(',').map(|s| s.trim().to_string()).filter(|s| !s.is_empty()).collect()
        };
        allowed.extend(["error".to_string(), "config".to_string(), name.clone()]);
        if cells[1].ends_with('*') {
            allowed.insert("catalog".to_string());
        }
        above.insert(name.clone());
        law.insert(name, allowed);
    }
    assert!(law.len() >= 10, "the table of layers is gone from ARCHITECTURE.md");
    law
}

/// Lines before the file's tests: tests may see more.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_string()
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|s| ["tests", "testing", "test_support"].iter().any(|t| s == *t))
        || path.components().any(|c| c.as_os_str() == "testing")
}

#[test]
fn folders_of_engine_import_only_what_the_table_allows() {
    let law = law();
    let src = root().join("engine/src");
    let mut broken = Vec::new();
    for path in rust_files(&src).into_iter().filter(|p| !is_test(p)) {
        let relative = path.strip_prefix(&src).unwrap();
        let folder =
            relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if ["lib", "error", "config", "failpoint"].contains(&folder) {
            continue;
        }
        let allowed = law.get(folder).unwrap_or_else(|| panic!("{folder} has no row in ARCHITECTURE.md"));
        for line in code(&path).lines().filter(|l| !l.trim_start().starts_with("//")) {
            for import in line.split("crate::").skip(1) {
                let name = import.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                let grouped = import.starts_with('{');
                let names: Vec<&str> = if grouped {
                    import
                        .trim_start_matches('{')
                        .split(',')
                        .map(|n| n.trim().split("::").next().unwrap())
                        .collect()
                } else {
                    vec![name]
                };
                for name in names {
                    let is_folder = law.contains_key(name);
                    if is_folder && !allowed.contains(name) {
                        broken.push(format!("{} imports {name}", relative.display()));
                    }
                }
            }
            if line.trim_start().starts_with("use catalog::") && !allowed.contains("catalog") {
                broken.push(format!("{} imports the crate catalog", relative.display()));
            }
        }
    }
    assert!(broken.is_empty(), "against the table in ARCHITECTURE.md:\n{}", broken.join("\n"));
}

#[test]
fn only_the_shells_wiring_names_connectors_and_catalogs() {
    let src = root().join("shell/src");
    for path in rust_files(&src).into_iter().filter(|p| !p.ends_with("wiring.rs")) {
        let code = code(&path);
        for word in ["connectors::registry", "use connectors", "SqliteCatalog", "MemoryCatalog"] {
            assert!(!code.contains(word), "{} names {word}", path.display());
        }
    }
}

#[test]
fn the_engine_names_no_connector_format_or_terminal() {
    let src = root().join("engine/src");
    for path in rust_files(&src).into_iter().filter(|p| !is_test(p)) {
        for line in code(&path).lines().filter(|l| !l.trim_start().starts_with("//")) {
            for word in ["rdkafka", "aws_sdk", "crossterm", "rustyline", "println!"] {
                assert!(!line.contains(word), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_lives_there() {
    for folder in ["catalog/src", "engine/src", "connectors/src", "shell/src", "tests/src", "benches/src"] {
        for path in rust_files(&root().join(folder)) {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//!"), "{} does not open with a //! line", path.display());
        }
    }
}
