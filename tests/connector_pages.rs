//! The pages of `docs/connectors` list exactly the options that the connectors take. `UPDATE_EXPECT=1` rewrites them.

use engine::connector::OptionHelp;
use std::path::Path;

/// Has a table of another shape, which its own test keeps (`connectors/src/kinesis/tests.rs`).
const OTHER: &str = "kinesis";

const BEGIN: &str = "<!-- options -->\n";
const END: &str = "<!-- /options -->";

fn table(options: &[OptionHelp]) -> String {
    let mut text = "| Option | Default | |\n| --- | --- | --- |\n".to_string();
    // Options of formats are on the formats' pages.
    let formats = connectors::formats::FORMATS.iter().map(|f| format!("{}.", f.name())).collect::<Vec<_>>();
    let of_format = |key: &str| {
        let key = key.strip_prefix("value.").or(key.strip_prefix("key.")).unwrap_or(key);
        formats.iter().any(|f| key.starts_with(f.as_str()))
    };
    for option in options.iter().filter(|o| !of_format(&o.key)) {
        let default = match (&option.default, option.required) {
            (Some(default), _) => format!("`{default}`"),
            (None, true) => "required".to_string(),
            (None, false) => String::new(),
        };
        let description = option.description.replace('|', "\\|");
        text += &format!("| `{}` | {default} | {description} |\n", option.key);
    }
    text
}

#[test]
fn every_page_lists_its_connectors_options() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/connectors");
    let registry = connectors::registry();
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("docs/connectors") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let Ok(connector) = registry.get(&name) else { continue };
        if name == OTHER {
            continue;
        }
        let page = std::fs::read_to_string(&path).expect("a page");
        let Some((before, rest)) = page.split_once(BEGIN) else { continue };
        let (_, after) =
            rest.split_once(END).unwrap_or_else(|| panic!("{name}.md: the table has no end, `{END}`"));
        let right = format!("{before}{BEGIN}{}{END}{after}", table(&connector.options()));
        if right != page {
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                std::fs::write(&path, right).expect("the page is written");
            } else {
                wrong.push(format!("docs/connectors/{name}.md"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "tables of options are not up to date (UPDATE_EXPECT=1 writes them): {wrong:?}"
    );
}
