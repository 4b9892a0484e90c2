//! Records of each kind, read and written.

use super::*;
use crate::formats::Payloads;
use arrow::array::{AsArray, Int32Array};
use arrow::datatypes::{Field, Schema};
use engine::message::ChangeBatch;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int32, true),
        Field::new("g", DataType::Utf8, true),
    ]))
}

fn decode(
    format: &ChangeJson,
    options: &[(&str, &str)],
    lines: &[&str],
) -> std::result::Result<String, String> {
    let options: Options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let mut decoder = format.decoder(&options, schema(), schema(), chrono_tz::Tz::UTC).unwrap();
    let mut payloads = Payloads::default();
    lines.iter().for_each(|l| payloads.push(l.as_bytes()));
    payloads.pad();
    let decoded = decoder.decode(&payloads).map_err(|e| format!("{}: {}", e.payload, e.message))?;
    let batch = match decoded.kinds {
        Some(kinds) => ChangeBatch::new(decoded.batch, kinds),
        None => ChangeBatch::inserts(decoded.batch),
    };
    let (ids, gs) = (batch.records().column(0).clone(), batch.records().column(1).clone());
    let (ids, gs): (&Int32Array, &StringArray) = (ids.as_primitive(), gs.as_string());
    Ok((0..batch.num_rows())
        .map(|r| format!("{} {} {}", batch.kind(r).short(), ids.value(r), gs.value(r)))
        .collect::<Vec<_>>()
        .join("; "))
}

#[test]
fn changes_become_rows_with_kinds() {
    let lines = [
        r#"{"op":"c","before":null,"after":{"id":1,"g":"a"},"source":{"db":"x"}}"#,
        r#"{"op":"u","before":{"id":1,"g":"a"},"after":{"id":1,"g":"é"}}"#,
        r#"{"op":"d","before":{"id":1,"g":"é"}}"#,
        "",
        r#"{"op":"r","after":{"g":"b","id":2}}"#,
    ];
    assert_eq!(decode(&DEBEZIUM, &[], &lines).unwrap(), "+I 1 a; -U 1 a; +U 1 é; -D 1 é; +I 2 b");
    let lines = [
        r#"{"op_type":"I","after":{"id":1,"g":"a"}}"#,
        r#"{"op_type":"U","before":{"id":1,"g":"a"},"after":{"id":2,"g":"a"}}"#,
        r#"{"op_type":"D","before":{"id":2,"g":"a"}}"#,
    ];
    assert_eq!(decode(&OGG, &[], &lines).unwrap(), "+I 1 a; -U 1 a; +U 2 a; -D 2 a");
}

#[test]
fn records_may_come_with_their_schema() {
    let lines = [r#"{"schema":{"type":"struct"},"payload":{"op":"c","after":{"id":1,"g":"a"}}}"#];
    assert_eq!(decode(&DEBEZIUM, &[(SCHEMA_INCLUDE, "true")], &lines).unwrap(), "+I 1 a");
}

#[test]
fn what_is_no_change_is_an_error_or_skipped() {
    let lines = [r#"{"op":"x","after":{"id":1}}"#, r#"{"op":"c","after":{"id":2,"g":"b"}}"#];
    assert_eq!(
        decode(&DEBEZIUM, &[], &lines).unwrap_err(),
        "0: Unknown kind of change \"x\" in a record of 'debezium-json'."
    );
    assert_eq!(decode(&DEBEZIUM, &[("ignore-parse-errors", "true")], &lines).unwrap(), "+I 2 b");
    let lines = [r#"{"op":"u","after":{"id":1,"g":"a"}}"#];
    assert!(decode(&DEBEZIUM, &[], &lines).unwrap_err().contains("REPLICA IDENTITY FULL"));
}

#[test]
fn updates_are_written_as_delete_and_create() {
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(vec![1, 1])), Arc::new(StringArray::from(vec!["a", "b"]))];
    let records = RecordBatch::try_new(schema(), columns).unwrap();
    let batch = ChangeBatch::new(records, vec![RowKind::UpdateBefore, RowKind::UpdateAfter]);
    let mut encoder = DEBEZIUM.encoder(&Options::default(), schema(), chrono_tz::Tz::UTC).unwrap();
    let mut out = Payloads::default();
    encoder.encode(&batch, &mut out).unwrap();
    let lines: Vec<&str> = out.iter().map(|b| std::str::from_utf8(b).unwrap()).collect();
    assert_eq!(
        lines,
        [
            r#"{"before":{"id":1,"g":"a"},"after":null,"op":"d"}"#,
            r#"{"before":null,"after":{"id":1,"g":"b"},"op":"c"}"#
        ]
    );
}

#[test]
fn what_an_update_has_not_overwritten_is_as_before() {
    let lines = [
        r#"{"type":"insert","data":{"id":1,"g":"a"}}"#,
        r#"{"type":"update","data":{"id":1,"g":"é"},"old":{"g":"a"}}"#,
        r#"{"type":"update","data":{"id":2,"g":"é"},"old":{"id":1,"other":null}}"#,
        r#"{"type":"delete","data":{"id":2,"g":"é"}}"#,
    ];
    assert_eq!(decode(&MAXWELL, &[], &lines).unwrap(), "+I 1 a; -U 1 a; +U 1 é; -U 1 é; +U 2 é; -D 2 é");
    let lines = [
        r#"{"type":"INSERT","database":"s","table":"t","data":[{"id":"1","g":"a"},{"id":"2","g":"b"}],"old":null}"#,
        r#"{"type":"CREATE","database":"s","table":"t","data":null,"sql":"create table t"}"#,
        r#"{"type":"UPDATE","database":"s","table":"t2","data":[{"id":"1","g":"c"},{"id":"3","g":"b"}],"old":[{"g":"a"},{"id":"2"}]}"#,
        r#"{"type":"DELETE","database":"x","table":"t","data":[{"id":"1","g":"c"}]}"#,
    ];
    assert_eq!(
        decode(&CANAL, &[], &lines).unwrap(),
        "+I 1 a; +I 2 b; -U 1 a; +U 1 c; -U 2 b; +U 3 b; -D 1 c"
    );
    let only = [("table.include", "t"), ("database.include", "s|y")];
    assert_eq!(decode(&CANAL, &only, &lines).unwrap(), "+I 1 a; +I 2 b");
}

#[test]
fn an_overwritten_null_is_told_apart_from_a_column_that_was_not_changed() {
    let lines = [
        r#"{"type":"update","data":{"id":1,"g":"new"},"old":{"g":null}}"#,
        r#"{"type":"update","data":{"id":2,"g":"same"},"old":{"id":1}}"#,
    ];
    // The texts of NULLs are empty here.
    assert_eq!(decode(&MAXWELL, &[], &lines).unwrap(), "-U 1 ; +U 1 new; -U 1 same; +U 2 same");
    let lines =
        [r#"{"type":"UPDATE","data":[{"id":1,"g":"new"},{"id":2,"g":"same"}],"old":[{"g":null},{"id":1}]}"#];
    assert_eq!(decode(&CANAL, &[], &lines).unwrap(), "-U 1 ; +U 1 new; -U 1 same; +U 2 same");
}

#[test]
fn an_update_needs_what_it_has_overwritten() {
    let lines = [r#"{"type":"UPDATE","data":[{"id":1,"g":"a"}],"old":null}"#];
    assert_eq!(decode(&CANAL, &[], &lines).unwrap_err(), "0: The \"old\" of a change \"UPDATE\" is null.");
    let lines = [r#"{"type":"UPDATE","data":[{"id":1},{"id":2}],"old":[{}]}"#];
    assert!(decode(&CANAL, &[], &lines).unwrap_err().contains("fewer rows"));
    let wrong = Options::from([("table.include".to_string(), "(".to_string())]);
    assert!(CANAL.check(&wrong, &schema()).is_err());
}

#[test]
fn canal_and_maxwell_are_written_as_flink_does() {
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(vec![1, 1])), Arc::new(StringArray::from(vec!["a", "b"]))];
    let records = RecordBatch::try_new(schema(), columns).unwrap();
    let batch = ChangeBatch::new(records, vec![RowKind::UpdateBefore, RowKind::UpdateAfter]);
    let written = |format: &ChangeJson| {
        let mut encoder = format.encoder(&Options::default(), schema(), chrono_tz::Tz::UTC).unwrap();
        let mut out = Payloads::default();
        encoder.encode(&batch, &mut out).unwrap();
        out.iter().map(|b| String::from_utf8(b.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        written(&CANAL),
        [r#"{"data":[{"id":1,"g":"a"}],"type":"DELETE"}"#, r#"{"data":[{"id":1,"g":"b"}],"type":"INSERT"}"#]
    );
    assert_eq!(
        written(&MAXWELL),
        [r#"{"data":{"id":1,"g":"a"},"type":"delete"}"#, r#"{"data":{"id":1,"g":"b"},"type":"insert"}"#]
    );
}
