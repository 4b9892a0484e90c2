//! `type=single`: one row put into a template, its HTML tags left out.

/// Puts the cells into `{0}`, `{1}`, … and leaves out tags; headings stand on lines of their own.
pub fn fill(template: &str, cells: &[String]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '<']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let close = if rest.starts_with('{') { '}' } else { '>' };
        let Some(end) = rest.find(close) else { break };
        let inner = &rest[1..end];
        match inner.parse::<usize>() {
            Ok(index) if close == '}' => out.push_str(cells.get(index).map_or("", String::as_str)),
            _ if close == '}' => out.push_str(&rest[..=end]),
            _ => {
                let tag = inner.trim_start_matches('/').to_ascii_lowercase();
                let breaks = tag.starts_with('h') && tag[1..].starts_with(|c: char| c.is_ascii_digit());
                if (breaks || tag.starts_with("br") || tag == "p" || tag == "div")
                    && !out.is_empty()
                    && !out.ends_with('\n')
                {
                    out.push('\n');
                }
            }
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_template() {
        let cells = ["1".to_string(), "2".into(), "3".into()];
        let template =
            "<h1>{2}</h1> records seen until <h1>Processing Time: {1}</h1> and <h1>Event Time: {0}</h1>";
        assert_eq!(fill(template, &cells), "3\nrecords seen until\nProcessing Time: 2\nand\nEvent Time: 1");
        assert_eq!(fill("{0} {9} {x} <", &cells), "1  {x} <");
    }
}
