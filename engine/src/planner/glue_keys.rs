//! Table properties as AWS Glue keeps them for Studio notebooks, read as what they stand for.

use catalog::{ColumnDefinition, ColumnKind, TableDefinition, WatermarkDefinition, quote_identifier};

/// `definition` with Studio's keys applied: `managed-flink.proctime` becomes a PROCTIME() column,
/// `managed-flink.rowtime` and `managed-flink.watermark.<column>.milliseconds` a watermark, `classification`
/// stands for `format`, and `flink.`-prefixed keys lose the prefix. What the table declares itself wins.
pub fn apply(definition: &TableDefinition) -> TableDefinition {
    let mut result = definition.clone();
    let concerned =
        |k: &String| k.starts_with("managed-flink.") || k.starts_with("flink.") || k == "classification";
    if !definition.options.keys().any(concerned) {
        return result;
    }
    let (mut proctime, mut rowtime, mut delays) = (None, None, Vec::new());
    result.options.clear();
    let mut stand_ins = Vec::new();
    for (key, value) in &definition.options {
        let value = value.trim().to_string();
        if key == "managed-flink.proctime" {
            proctime = Some(value);
        } else if key == "managed-flink.rowtime" {
            rowtime = Some(value);
        } else if let Some(column) =
            key.strip_prefix("managed-flink.watermark.").and_then(|k| k.strip_suffix(".milliseconds"))
        {
            delays.push((column.to_string(), value));
        } else if let Some(rest) = key.strip_prefix("flink.") {
            stand_ins.push((rest.to_string(), value));
        } else if key == "classification" {
            stand_ins.push(("format".to_string(), value));
        } else {
            result.options.insert(key.clone(), value);
        }
    }
    for (key, value) in stand_ins {
        result.options.entry(key).or_insert(value);
    }
    if let Some(name) = proctime.filter(|n| !n.is_empty() && !result.columns.iter().any(|c| c.name == *n)) {
        let kind = ColumnKind::Computed { expression: "PROCTIME()".into() };
        result.columns.push(ColumnDefinition { name, kind, comment: None });
    }
    let column = rowtime.or_else(|| delays.first().map(|(c, _)| c.clone()));
    if let (None, Some(column)) = (&result.watermark, column) {
        let delay = delays.iter().find(|(c, _)| *c == column).and_then(|(_, ms)| ms.parse::<u64>().ok());
        let quoted = quote_identifier(&column);
        let expression = match delay {
            None | Some(0) => quoted,
            Some(ms) => {
                format!("{quoted} - INTERVAL '{}.{:03}' SECOND({})", ms / 1000, ms % 1000, digits(ms / 1000))
            }
        };
        result.watermark = Some(WatermarkDefinition { column, expression });
    }
    result
}

/// Leading precision that an INTERVAL of `seconds` needs; at least the default of 2.
fn digits(seconds: u64) -> usize {
    seconds.to_string().len().max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(options: &[(&str, &str)]) -> TableDefinition {
        let column = |name: &str, data_type: &str| ColumnDefinition {
            name: name.into(),
            kind: ColumnKind::Physical { data_type: data_type.into() },
            comment: None,
        };
        TableDefinition {
            columns: vec![column("ticker", "STRING"), column("event_time", "TIMESTAMP(3)")],
            options: options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            ..TableDefinition::default()
        }
    }

    #[test]
    fn keys_become_columns_watermarks_and_options() {
        let applied = apply(&table(&[
            ("managed-flink.proctime", "proctime"),
            ("managed-flink.rowtime", "event_time"),
            ("managed-flink.watermark.event_time.milliseconds", "60500"),
            ("classification", "json"),
            ("flink.properties.group.id", " g "),
            ("connector", " kinesis"),
        ]));
        assert_eq!(applied.columns[2].name, "proctime");
        assert_eq!(applied.columns[2].kind, ColumnKind::Computed { expression: "PROCTIME()".into() });
        let watermark = applied.watermark.unwrap();
        assert_eq!(watermark.column, "event_time");
        assert_eq!(watermark.expression, "`event_time` - INTERVAL '60.500' SECOND(2)");
        let options: Vec<(&str, &str)> =
            applied.options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(options, [("connector", "kinesis"), ("format", "json"), ("properties.group.id", "g")]);
    }

    #[test]
    fn what_the_table_says_itself_wins() {
        let mut own =
            table(&[("classification", "csv"), ("format", "json"), ("managed-flink.rowtime", "event_time")]);
        own.watermark =
            Some(WatermarkDefinition { column: "event_time".into(), expression: "event_time".into() });
        let applied = apply(&own);
        assert_eq!(applied.options.get("format").map(String::as_str), Some("json"));
        assert_eq!(applied.watermark, own.watermark);
        let plain = table(&[("connector", "kafka ")]);
        assert_eq!(apply(&plain), plain);
    }
}
