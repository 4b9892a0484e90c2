//! CREATE TABLE: definitions, SHOW CREATE TABLE, LIKE; texts as Flink 1.20 gave them.

use super::{ok, refusal};
use crate::sql::{Statement, create_table_text, create_view_text, merge_like};
use catalog::{ColumnKind, ObjectName, TableDefinition, ViewDefinition};

fn create(text: &str) -> crate::sql::CreateTable {
    let Statement::CreateTable(create) = ok(text) else { panic!("{text}") };
    *create
}

fn shown(text: &str) -> String {
    let create = create(text);
    let name = ObjectName::new("default_catalog", "default_database", create.name.parts.last().unwrap());
    create_table_text(&name, &create.definition().unwrap(), create.temporary)
}

const SOURCE: &str = "CREATE TABLE src (
 `id` BIGINT NOT NULL COMMENT 'the id',
 name STRING,
 price DECIMAL(10,2),
 ts TIMESTAMP(3),
 h MAP<STRING, STRING> METADATA FROM 'headers' VIRTUAL,
 off BIGINT METADATA,
 `part` INT METADATA FROM 'partition' COMMENT 'pp',
 pt AS PROCTIME(),
 total AS price * 2 + CAST(id AS DECIMAL(10,2)) COMMENT 'tot',
 u AS UPPER(name) || 'x''y',
 WATERMARK FOR ts AS ts - INTERVAL '5' SECONDS,
 CONSTRAINT my PRIMARY KEY (id) NOT ENFORCED
) COMMENT 'the table''s comment' PARTITIONED BY (name, id)
WITH ('connector'='kafka', 'topic'='t', 'a'='it''s', 'properties.ssl.truststore.password' = 'geheim')";

const SHOWN: &str = "CREATE TABLE `default_catalog`.`default_database`.`src` (
  `id` BIGINT NOT NULL COMMENT 'the id',
  `name` VARCHAR(2147483647),
  `price` DECIMAL(10, 2),
  `ts` TIMESTAMP(3),
  `h` MAP<VARCHAR(2147483647), VARCHAR(2147483647)> METADATA FROM 'headers' VIRTUAL,
  `off` BIGINT METADATA,
  `part` INT METADATA FROM 'partition' COMMENT 'pp',
  `pt` AS PROCTIME(),
  `total` AS `price` * 2 + CAST(`id` AS DECIMAL(10, 2)) COMMENT 'tot',
  `u` AS UPPER(`name`) || 'x''y',
  WATERMARK FOR `ts` AS `ts` - INTERVAL '5' SECOND,
  CONSTRAINT `my` PRIMARY KEY (`id`) NOT ENFORCED
) COMMENT 'the table''s comment'
PARTITIONED BY (`name`, `id`)
WITH (
  'a' = 'it''s',
  'connector' = 'kafka',
  'properties.ssl.truststore.password' = '******',
  'topic' = 't'
)
";

#[test]
fn shows_what_flink_shows() {
    assert_eq!(shown(SOURCE), SHOWN);
    // What is shown creates the same table again.
    assert_eq!(shown(SHOWN), SHOWN);
    assert_eq!(
        shown(
            "CREATE TEMPORARY TABLE tmp (a INT, b TIMESTAMP(3), WATERMARK FOR b AS b) COMMENT '' WITH ('connector'='datagen')"
        ),
        "CREATE TEMPORARY TABLE `default_catalog`.`default_database`.`tmp` (
  `a` INT,
  `b` TIMESTAMP(3),
  WATERMARK FOR `b` AS `b`
) WITH (
  'connector' = 'datagen'
)
"
    );
    assert_eq!(
        shown(
            "CREATE TABLE pk2 (a INT, b STRING, PRIMARY KEY (b, a) NOT ENFORCED) PARTITIONED BY (a) WITH ('connector'='datagen')"
        ),
        "CREATE TABLE `default_catalog`.`default_database`.`pk2` (
  `a` INT NOT NULL,
  `b` VARCHAR(2147483647) NOT NULL,
  CONSTRAINT `PK_b_a` PRIMARY KEY (`b`, `a`) NOT ENFORCED
) PARTITIONED BY (`a`)
WITH (
  'connector' = 'datagen'
)
"
    );
}

#[test]
fn views_show_their_text() {
    let view = ViewDefinition {
        query: "SELECT a\nFROM t".into(),
        columns: vec![("x".into(), None)],
        comment: None,
        catalog: "c".into(),
        database: "d".into(),
    };
    let name = ObjectName::new("c", "d", "v");
    assert_eq!(
        create_view_text(&name, &view, true),
        "CREATE TEMPORARY VIEW `c`.`d`.`v`(`x`) as\nSELECT a\nFROM t"
    );
    let plain = ViewDefinition { columns: vec![], comment: Some("it's".into()), ..view };
    assert_eq!(
        create_view_text(&name, &plain, false),
        "CREATE VIEW `c`.`d`.`v` COMMENT 'it''s' as\nSELECT a\nFROM t"
    );
}

#[test]
fn keeps_everything_that_was_declared() {
    let create = create(SOURCE);
    let definition = create.definition().unwrap();
    assert_eq!(definition.columns.len(), 10);
    assert_eq!(definition.primary_key.as_ref().unwrap().name, "my");
    assert_eq!(definition.watermark.as_ref().unwrap().expression, "`ts` - INTERVAL '5' SECOND");
    assert_eq!(definition.partitioned_by, ["name", "id"]);
    assert_eq!(definition.columns[0].kind, ColumnKind::Physical { data_type: "BIGINT NOT NULL".into() });
    let topic = create.option_spans["topic"];
    assert_eq!((topic.start.line, topic.start.column, topic.end.column), (15, 28, 35));
    let watermark = create.watermark.unwrap().2.unwrap();
    assert_eq!((watermark.start.line, watermark.start.column), (12, 22));
}

#[test]
fn column_constraints_come_in_any_order() {
    let text = "CREATE TABLE t (a INT NOT NULL PRIMARY KEY NOT ENFORCED COMMENT 'x', b INT COMMENT 'y' CONSTRAINT c PRIMARY KEY NOT ENFORCED)";
    assert!(refusal(text).contains("Duplicate primary key definition"));
    let definition =
        create("CREATE TABLE t (a INT PRIMARY KEY NOT ENFORCED COMMENT 'x')").definition().unwrap();
    assert_eq!(definition.primary_key.unwrap().name, "PK_a");
    assert_eq!(definition.columns[0].comment.as_deref(), Some("x"));
    assert!(
        refusal("CREATE TABLE t (a INT PRIMARY KEY)")
            .starts_with("1:23-1:34 Flink doesn't support ENFORCED mode for PRIMARY KEY constraint.")
    );
    assert!(
        refusal("CREATE TABLE t (a INT, PRIMARY KEY (a) ENFORCED)")
            .contains("Flink doesn't support ENFORCED mode")
    );
}

#[test]
fn names_are_checked() {
    for (columns, message) in [
        ("a INT, a STRING", "A regular Column named 'a' already exists in the table."),
        (
            "a INT, a AS 1",
            "A column named 'a' already exists in the table. Duplicate columns exist in the compute column and regular column.",
        ),
        (
            "a INT METADATA, a INT",
            "A column named 'a' already exists in the table. Duplicate columns exist in the metadata column and regular column.",
        ),
        ("a INT, PRIMARY KEY (zz) NOT ENFORCED", "Primary key column 'zz' is not defined in the schema"),
        ("a AS 1, PRIMARY KEY (a) NOT ENFORCED", "Could not create a PRIMARY KEY with column 'a'."),
        (
            "a TIMESTAMP(3), WATERMARK FOR b AS a",
            "Invalid column name 'b' for rowtime attribute in watermark declaration. Available columns are: [a]",
        ),
        (
            "a ROW<t TIMESTAMP(3)>, WATERMARK FOR a.t AS a.t",
            "Invalid column name 'a.t' for rowtime attribute in watermark declaration. Available columns are: [a]",
        ),
    ] {
        let e =
            create(&format!("CREATE TABLE t ({columns}) WITH ('connector'='x')")).definition().unwrap_err();
        assert_eq!(e.message(), message, "{columns}");
    }
    let e =
        create("CREATE TABLE t (a INT) PARTITIONED BY (b) WITH ('connector'='x')").definition().unwrap_err();
    assert_eq!(e.message(), "Partition column 'b' not defined in the table schema. Available columns: ['a']");
}

const BASE: &str =
    "CREATE TABLE base (a INT, b STRING NOT NULL, ts TIMESTAMP(3), c AS a + 1, h STRING METADATA VIRTUAL,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND, PRIMARY KEY (b) NOT ENFORCED)
  COMMENT 'base' PARTITIONED BY (a) WITH ('connector'='datagen', 'k1'='v1')";

fn like(text: &str) -> crate::Result<TableDefinition> {
    let create = create(&format!("CREATE TABLE t {text}"));
    let base = self::create(BASE).definition()?;
    merge_like(create.definition()?, &base, &create.like.unwrap().rules)
}

fn names(definition: &TableDefinition) -> Vec<&str> {
    definition.columns.iter().map(|c| c.name.as_str()).collect()
}

#[test]
fn like_copies_as_flink_does() {
    let all = like("LIKE base").unwrap();
    assert_eq!(names(&all), ["a", "b", "ts", "c", "h"]);
    assert_eq!(all.comment, None);
    assert_eq!(all.partitioned_by, ["a"]);
    assert_eq!(all.primary_key.as_ref().unwrap().name, "PK_b");

    let own = like("(z INT) COMMENT 'mine' WITH ('k1'='v2', 'k3'='v3') LIKE base").unwrap();
    assert_eq!(names(&own), ["a", "b", "ts", "c", "h", "z"]);
    assert_eq!(own.options["k1"], "v2");
    assert_eq!(own.options["connector"], "datagen");
    assert_eq!(own.comment.as_deref(), Some("mine"));

    let generated = like("(c AS a + 2) LIKE base (OVERWRITING GENERATED)").unwrap();
    assert_eq!(names(&generated), ["a", "b", "ts", "c", "h"]);
    assert_eq!(generated.columns[3].kind, ColumnKind::Computed { expression: "`a` + 2".into() });

    let watermark = like("(WATERMARK FOR ts AS ts) LIKE base (OVERWRITING WATERMARKS)").unwrap();
    assert_eq!(watermark.watermark.unwrap().expression, "`ts`");

    let nothing = like("(z INT) WITH ('connector'='print') LIKE base (EXCLUDING ALL)").unwrap();
    assert_eq!(names(&nothing), ["a", "b", "ts", "z"]);
    assert_eq!(nothing.options.len(), 1);
    assert!(nothing.watermark.is_none() && nothing.primary_key.is_none());
    // Flink's own oddity.
    assert_eq!(nothing.partitioned_by, ["a"]);

    let some =
        like("(z INT) WITH ('connector'='print') LIKE base (EXCLUDING ALL INCLUDING WATERMARKS)").unwrap();
    assert!(some.watermark.is_some() && some.primary_key.is_none());

    let metadata = like("(h STRING METADATA) LIKE base (OVERWRITING METADATA)").unwrap();
    assert!(matches!(&metadata.columns[4].kind, ColumnKind::Metadata { is_virtual: false, .. }));

    let partitions = like("(z INT) PARTITIONED BY (b) LIKE base (EXCLUDING PARTITIONS)").unwrap();
    assert_eq!(partitions.partitioned_by, ["b"]);

    let key = like("(PRIMARY KEY (b) NOT ENFORCED) LIKE base (EXCLUDING CONSTRAINTS)").unwrap();
    assert_eq!(key.primary_key.unwrap().columns, ["b"]);
}

#[test]
fn like_refuses_as_flink_does() {
    for (text, message) in [
        (
            "(z INT) WITH ('k1'='v2') LIKE base (INCLUDING OPTIONS)",
            "There already exists an option ['k1' -> 'v1']  in the base table. You might want to specify EXCLUDING OPTIONS or OVERWRITING OPTIONS.",
        ),
        ("(a INT) LIKE base", "A column named 'a' already exists in the base table."),
        (
            "(c AS a + 2) LIKE base",
            "A generated column named 'c' already exists in the base table. You might want to specify EXCLUDING GENERATED or OVERWRITING GENERATED.",
        ),
        (
            "(WATERMARK FOR ts AS ts) LIKE base",
            "There already exists a watermark spec for column 'ts' in the base table. You might want to specify EXCLUDING WATERMARKS or OVERWRITING WATERMARKS.",
        ),
        (
            "(PRIMARY KEY (b) NOT ENFORCED) LIKE base",
            "The base table already has a primary key. You might want to specify EXCLUDING CONSTRAINTS.",
        ),
        (
            "(z INT) PARTITIONED BY (b) LIKE base",
            "The base table already has partitions defined. You might want to specify EXCLUDING PARTITIONS.",
        ),
        (
            "(h STRING METADATA) LIKE base",
            "A metadata column named 'h' already exists in the base table. You might want to specify EXCLUDING METADATA or OVERWRITING METADATA.",
        ),
        (
            "(ts AS 1) LIKE base",
            "A column named 'ts' already exists in the table. Duplicate columns exist in the compute column and regular column.",
        ),
        (
            "(a STRING METADATA) LIKE base (OVERWRITING METADATA)",
            "A column named 'a' already exists in the table. Duplicate columns exist in the metadata column and regular column.",
        ),
        ("(c INT) LIKE base", "A column named 'c' already exists in the base table."),
        (
            "(c INT METADATA) LIKE base",
            "A column named 'c' already exists in the base table. Metadata columns can only overwrite other metadata columns.",
        ),
        (
            "(h AS 1) LIKE base (OVERWRITING METADATA)",
            "A column named 'h' already exists in the base table. Computed columns can only overwrite other computed columns.",
        ),
    ] {
        assert_eq!(like(text).unwrap_err().message(), message, "{text}");
    }
    for (rules, message) in [
        ("OVERWRITING CONSTRAINTS", "Illegal merging strategy 'OVERWRITING' for 'CONSTRAINTS' option."),
        ("OVERWRITING ALL", "Illegal merging strategy 'OVERWRITING' for 'ALL' option."),
        ("INCLUDING OPTIONS INCLUDING OPTIONS", "Each like option feature can be declared only once."),
    ] {
        assert!(refusal(&format!("CREATE TABLE t LIKE base ({rules})")).contains(message), "{rules}");
    }
}
