//! CSV records against what Flink 1.20 read and wrote.

use super::*;
use crate::formats::{DecodeError, Decoded, Payloads};
use arrow::array::RecordBatch;
use arrow::datatypes::{Fields, Schema, TimeUnit};
use engine::message::ChangeBatch;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;

fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>()))
}

fn all_types() -> SchemaRef {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let row =
        Fields::from(vec![Field::new("x", DataType::Int32, true), Field::new("y", DataType::Utf8, true)]);
    schema(&[
        ("i", DataType::Int32),
        ("s", DataType::Utf8),
        ("d", DataType::Float64),
        ("t", DataType::Timestamp(TimeUnit::Millisecond, None)),
        ("bo", DataType::Boolean),
        ("dt", DataType::Date32),
        ("ti", DataType::Time32(TimeUnit::Millisecond)),
        ("by", DataType::Binary),
        ("a", DataType::List(item)),
        ("r", DataType::Struct(row)),
        ("dec", DataType::Decimal128(10, 2)),
    ])
}

fn decode(
    schema: &SchemaRef,
    given: &[(&str, &str)],
    records: &[&str],
) -> std::result::Result<Decoded, DecodeError> {
    let mut payloads = Payloads::default();
    records.iter().for_each(|r| payloads.push(r.as_bytes()));
    payloads.pad();
    let mut decoder = Csv.decoder(&options(given), schema.clone(), schema.clone(), chrono_tz::UTC).unwrap();
    decoder.decode(&payloads)
}

/// Rows as JSON, which tells NULL from an empty text.
fn json(batch: &RecordBatch) -> Vec<String> {
    let mut encoder = super::super::format("json")
        .unwrap()
        .encoder(&options(&[("encode.ignore-null-fields", "true")]), batch.schema(), chrono_tz::UTC)
        .unwrap();
    let mut out = Payloads::default();
    encoder.encode(&ChangeBatch::inserts(batch.clone()), &mut out).unwrap();
    out.iter().map(|p| String::from_utf8(p.to_vec()).unwrap()).collect()
}

fn encode(batch: &RecordBatch, given: &[(&str, &str)]) -> Vec<String> {
    let mut encoder = Csv.encoder(&options(given), batch.schema(), chrono_tz::UTC).unwrap();
    let mut out = Payloads::default();
    encoder.encode(&ChangeBatch::inserts(batch.clone()), &mut out).unwrap();
    out.iter().map(|p| String::from_utf8(p.to_vec()).unwrap()).collect()
}

#[test]
fn values_are_read_as_flink_reads_them() {
    let ignore = &[("ignore-parse-errors", "true")];
    for (record, expected) in [
        (
            "1,abc,1.5,2020-01-01 00:00:00,true,2020-01-02,10:11:12,aGk=,1;2;3,7;q,12.345",
            r#"{"i":1,"s":"abc","d":1.5,"t":"2020-01-01 00:00:00","bo":true,"dt":"2020-01-02","ti":"10:11:12","by":"aGk=","a":[1,2,3],"r":{"x":7,"y":"q"},"dec":12.35}"#,
        ),
        ("2,,,,,,,,,,", r#"{"i":2,"s":"","bo":false,"by":"","a":[]}"#),
        (
            r#"3,"a,b",2,"2020-01-01 00:00:00.123",TRUE,2020-01-02,10:11,aGk=,,;,1E2"#,
            r#"{"i":3,"s":"a,b","d":2.0,"t":"2020-01-01 00:00:00.123","bo":true,"dt":"2020-01-02","ti":"10:11:00","by":"aGk=","a":[],"r":{"y":""},"dec":1E+2}"#,
        ),
        (
            "4, x , 2.5 ,2020-01-01 00:00:00.5, true ,2020-01-02,10:11:12.5, aGk= , 1 ; 2 , 7 ; q ,  3",
            r#"{"i":4,"s":" x ","d":2.5,"t":"2020-01-01 00:00:00.5","bo":true,"dt":"2020-01-02","ti":"10:11:12","by":"aGk=","a":[1,2],"r":{"x":7,"y":" q "}}"#,
        ),
        ("x,bad", r#"{"s":"bad"}"#),
        (
            r#""7","q""uote","1.5","2020-01-01T00:00:00","no","2020-1-2","10:11:12Z","x","a;b","7","abc""#,
            r#"{"i":7,"s":"q\"uote","d":1.5,"bo":false,"dt":"2020-01-02","a":[null,null],"r":{"x":7}}"#,
        ),
        (
            "8,multi,1e3,2020-01-01,0,x,y,!,;,7;q;z,99999999999",
            r#"{"i":8,"s":"multi","d":1000.0,"bo":false,"a":[null,null],"r":{"x":7,"y":"q"}}"#,
        ),
        ("9.0,nine", r#"{"s":"nine"}"#),
        (" 10 ,ten", r#"{"i":10,"s":"ten"}"#),
        ("+11,plus", r#"{"i":11,"s":"plus"}"#),
        ("12,a\"b", r#"{"i":12,"s":"a\"b"}"#),
        ("13, \"z\"", r#"{"i":13,"s":" \"z\""}"#),
        ("14,\"q\" ,1", r#"{"i":14,"s":"q","d":1.0}"#),
        ("", "{}"),
    ] {
        let decoded = decode(&all_types(), ignore, &[record]).unwrap();
        assert_eq!(json(&decoded.batch), [expected], "{record}");
    }
    let dropped = ["1,2,3,4,5,6,7,8,9,10,11,12", "13,\"open", "14,\"a\" b,c"];
    let decoded = decode(&all_types(), ignore, &dropped).unwrap();
    assert_eq!((decoded.batch.num_rows(), decoded.skipped), (0, 3));
}

#[test]
fn errors_say_what() {
    let schema = schema(&[("i", DataType::Int32), ("s", DataType::Utf8), ("j", DataType::Int32)]);
    for (record, message) in [
        ("1", "the table has 3 columns, but the record only 1 fields: 1."),
        ("1,2,3,4", "the record has more than the 3 fields of the table: 1,2,3,4."),
        ("x,y,1", "column `i`: 'x' is no INT."),
        ("1,,", "column `j`: '' is no INT."),
        ("1,\"abc,2", "the closing quote of a field is missing: 1,\"abc,2."),
    ] {
        assert_eq!(
            decode(&schema, &[], &["1,a,2", record]).unwrap_err(),
            DecodeError { payload: 1, message: message.to_string() }
        );
    }
}

#[test]
fn comments_nulls_quotes_and_escapes() {
    let schema = schema(&[("i", DataType::Int32), ("s", DataType::Utf8), ("j", DataType::Int32)]);
    let given = &[
        ("field-delimiter", "|"),
        ("null-literal", "NULL"),
        ("quote-character", "'"),
        ("escape-character", "\\"),
        ("allow-comments", "true"),
    ];
    let records =
        ["1|NULL|3", "#x|y|z", "2|'a|b'|4", "3|a\\|b|5", "4|a\\\\b|6", "5|'it\\'s'|7", " #c", "6||NULL"];
    let decoded = decode(&schema, given, &records).unwrap();
    assert_eq!(
        json(&decoded.batch),
        [
            r#"{"i":1,"j":3}"#,
            r#"{"i":2,"s":"a|b","j":4}"#,
            r#"{"i":3,"s":"a|b","j":5}"#,
            r#"{"i":4,"s":"a\\b","j":6}"#,
            r#"{"i":5,"s":"it's","j":7}"#,
            r#"{"i":6,"s":""}"#,
        ]
    );
    assert_eq!(decoded.origin.unwrap(), [0, 2, 3, 4, 5, 7]);
    let plain = &[("field-delimiter", "\\t"), ("disable-quote-character", "true")];
    let decoded = decode(&schema, plain, &["5\t'it\\'s\"\t7"]).unwrap();
    assert_eq!(json(&decoded.batch), [r#"{"i":5,"s":"'it\\'s\"","j":7}"#]);
}

#[test]
fn only_the_wanted_columns_in_the_wanted_order() {
    let declared = all_types();
    let row = DataType::Struct(Fields::from(vec![Field::new("y", DataType::Utf8, true)]));
    let wanted = schema(&[("r", row), ("i", DataType::Int32)]);
    let mut payloads = Payloads::default();
    payloads.push(b"1,abc,x,x,x,x,x,x,x,7;q,12.345");
    let mut decoder = Csv.decoder(&Options::new(), wanted, declared, chrono_tz::UTC).unwrap();
    assert_eq!(json(&decoder.decode(&payloads).unwrap().batch), [r#"{"r":{"y":"q"},"i":1}"#]);
}

/// Lines that Flink wrote.
#[test]
fn texts_are_quoted_as_flink_does() {
    let schema = schema(&[("s", DataType::Utf8), ("s2", DataType::Utf8), ("i", DataType::Int32)]);
    let lines = [
        r#""a,b","c""d",1"#,
        r#""a b",plain,2"#,
        ",x;y,3",
        r#"" lead","trail ",4"#,
        r##""#c","a'b",5"##,
        "\"line\nbreak\",é,6",
        r#"a|b,"a\b",7"#,
        ",-,9",
        "a.b,a-b,8",
        "a_b,A:B,9",
        r#""(x)",[y],10"#,
        r#"a/b,"!x",11"#,
        r#""a+b","$",12"#,
        "~,€,13",
        r#"aaaaaaaaaaaaaaaaaaaaaaaa,"aaaaaaaaaaaaaaaaaaaaaaaaa",14"#,
    ];
    let decoded = decode(&schema, &[], &lines).unwrap();
    assert_eq!(encode(&decoded.batch, &[]), lines);
}

#[test]
fn all_types_are_written_as_flink_writes_them() {
    let line =
        r#"1,"x""y\z/","2020-01-01 00:00:00.1",2020-01-02,10:11:00,"Af+A",1;,1;,12.3,"1E+2",1.0E10,true"#;
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let row =
        Fields::from(vec![Field::new("x", DataType::Int32, true), Field::new("y", DataType::Int32, true)]);
    let schema = schema(&[
        ("a", DataType::Int32),
        ("b", DataType::Utf8),
        ("ts", DataType::Timestamp(TimeUnit::Millisecond, None)),
        ("d", DataType::Date32),
        ("t", DataType::Time32(TimeUnit::Millisecond)),
        ("by", DataType::Binary),
        ("arr", DataType::List(item)),
        ("r", DataType::Struct(row)),
        ("dec1", DataType::Decimal128(10, 2)),
        ("dec2", DataType::Decimal128(10, 2)),
        ("dbl", DataType::Float64),
        ("bo", DataType::Boolean),
    ]);
    let decoded = decode(&schema, &[("ignore-parse-errors", "true")], &[line]).unwrap();
    assert_eq!(encode(&decoded.batch, &[]), [line]);
    let given = &[
        ("field-delimiter", "|"),
        ("null-literal", "NULL!"),
        ("escape-character", "\\"),
        ("array-element-delimiter", "#"),
    ];
    assert_eq!(
        encode(&decoded.batch, given),
        [
            r#"1|"x""y\\z/"|"2020-01-01 00:00:00.1"|"2020-01-02"|"10:11:00"|"Af+A"|"1#NULL!"|"1#NULL!"|"12.3"|"1E+2"|1.0E10|true"#
        ]
    );
    let plain = encode(&decoded.batch, &[("write-bigdecimal-in-scientific-notation", "false")]);
    assert!(plain[0].contains(",12.3,100,1.0E10"), "{plain:?}");
}

#[test]
fn wrong_options_and_types_are_refused() {
    let none = schema(&[]);
    assert!(Csv.check(&options(&[("field-delimiter", "ab")]), &none).is_err());
    assert!(Csv.check(&options(&[("field-delimiter", "\\t")]), &none).is_ok());
    let both = options(&[("disable-quote-character", "true"), ("quote-character", "'")]);
    assert!(Csv.check(&both, &none).is_err());
    let error = Csv.check(&options(&[("field-delimeter", ",")]), &none).unwrap_err();
    assert_eq!(error.hint(), Some("Did you mean 'field-delimiter'?"));
}

#[test]
fn random_texts_survive_and_random_bytes_never_panic() {
    let schema = schema(&[("a", DataType::Utf8), ("b", DataType::Utf8)]);
    let mut rng = SmallRng::seed_from_u64(5);
    let pieces = ["a", ",", "\"", "\\", "\n", "é", " ", "#", "|", ";"];
    for _ in 0..500 {
        let mut text =
            || (0..rng.random_range(1..6)).map(|_| pieces[rng.random_range(0..10)]).collect::<String>();
        let texts = [text(), text()].map(|t| Arc::new(arrow::array::StringArray::from(vec![t])) as _);
        let batch = RecordBatch::try_new(schema.clone(), texts.to_vec()).unwrap();
        let given: &[(&str, &str)] =
            if rng.random() { &[] } else { &[("field-delimiter", "|"), ("escape-character", "\\")] };
        let line = encode(&batch, given);
        let decoded = decode(&schema, given, &[&line[0]]).unwrap();
        assert_eq!(decoded.batch, batch, "{line:?}");
    }
    let ignore = options(&[("ignore-parse-errors", "true"), ("escape-character", "\\")]);
    let mut decoder = Csv.decoder(&ignore, all_types(), all_types(), chrono_tz::UTC).unwrap();
    for _ in 0..2000 {
        let mut payloads = Payloads::default();
        for _ in 0..3 {
            let bytes = (0..rng.random_range(0..30)).map(|_| match rng.random_range(0..3) {
                0 => rng.random(),
                1 => b",\"\\;\n"[rng.random_range(0..5)],
                _ => rng.random_range(b'0'..=b'9'),
            });
            payloads.push(&bytes.collect::<Vec<u8>>());
        }
        payloads.pad();
        decoder.decode(&payloads).unwrap();
    }
}
