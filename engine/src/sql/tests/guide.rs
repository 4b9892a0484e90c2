//! Every SQL text of the two guides (studio.md §18), as printed: it parses, or is refused with the reason
//! that §20 gives for its damage. Placeholders such as `{0}` in names are filled in; `%flink.ssql` headers are
//! the shell's and were cut off.

use super::{ok, piece, refusal};
use crate::sql::{Statement, parse, split};

pub(super) const TEXTS: &[&str] = &[
    r#"CREATE TABLE my_table (
    `record_id` VARCHAR(64) NOT NULL,
    `event_time` BIGINT NOT NULL,
    `record_number` BIGINT NOT NULL,
    `num_retries` BIGINT NOT NULL,
    `verified` BOOLEAN NOT NULL
)
PARTITIONED BY (record_id)
WITH (
    'connector' = 'kinesis',
    'stream' = 'my_stream',
    'aws.region' = 'us-east-1',
    'scan.stream.initpos' = 'LATEST',
    'sink.partitioner-field-delimiter' = ';',
    'sink.producer.collection-max-count' = '100',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601'
)"#,
    r#"INSERT INTO my_table SELECT * FROM my_stream"#,
    r#"CREATE TABLE prices (
    ticker VARCHAR(6),
    price DOUBLE,
    event_time TIMESTAMP(3),
    WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
)
PARTITIONED BY (ticker)
WITH (
    'connector' = 'kinesis',
    'stream' = '{input_stream_name}',
    'aws.region' = '{input_stream_region}',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601'
)"#,
    r#"CREATE TABLE output (
    ticker VARCHAR(6),
    price DOUBLE,
    event_time TIMESTAMP(3)
)
PARTITIONED BY (ticker)
WITH (
    'connector' = 'kinesis',
    'stream' = '{output_stream_name}',
    'aws.region' = '{output_stream_region}',
    'sink.partition-field-delimiter' = ';',
    'sink.batch.max-size' = '100',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601'
)"#,
    r#"INSERT INTO output
    SELECT ticker, price, event_time FROM prices"#,
    r#"-- Plaintext connection
CREATE TABLE your_table (
    `column1` STRING,
    `column2` BIGINT
) WITH (
    'connector' = 'kafka',
    'topic' = 'your_topic',
    'properties.bootstrap.servers' = '<bootstrap servers>',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json'
);"#,
    r#"CREATE TABLE your_table (
    `column1` STRING,
    `column2` BIGINT
) WITH (
    'connector' = 'kafka',
    'topic' = 'your_topic',
    'properties.bootstrap.servers' = '<bootstrap servers>',
    'properties.security.protocol' = 'SSL',
    'properties.ssl.truststore.location' = '/usr/lib/jvm/java-11-amazon-corretto/lib/security/cacerts',
    'properties.ssl.truststore.password' = 'changeit',
    'properties.group.id' = 'myGroup',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json'
);"#,
    r#"CREATE TABLE your_table (
    `column1` STRING,
    `column2` BIGINT
) WITH (
    'connector' = 'kafka',
    'topic' = 'your_topic',
    'properties.bootstrap.servers' = '<bootstrap servers>',
    'properties.security.protocol' = 'SASL_SSL',
    'properties.sasl.mechanism' = 'AWS_MSK_IAM',
    'properties.sasl.jaas.config' = 'software.amazon.msk.auth.iam.IAMLoginModule required;',
    'properties.sasl.client.callback.handler.class' = 'software.amazon.msk.auth.iam.IAMClientCallbackHandler',
    'properties.group.id' = 'myGroup',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json'
);"#,
    r#"CREATE TABLE KinesisTable (
    `column1` BIGINT,
    `column2` BIGINT,
    `column3` BIGINT,
    `column4` STRING,
    `ts` TIMESTAMP(3)
)
PARTITIONED BY (column1, column2)
WITH (
    'connector' = 'kinesis',
    'stream' = 'test_stream',
    'aws.region' = '<region>',
    'scan.stream.initpos' = 'LATEST',
    'format' = 'csv'
);"#,
    r#"CREATE TABLE test1 (
    name VARCHAR,
    age BIGINT
) WITH (
    'connector' = 'kinesis',
    'stream' = 'stream-assume-role-test',
    'aws.region' = 'us-east-1',
    'aws.credentials.provider' = 'ASSUME_ROLE',
    'aws.credentials.role.arn' = 'arn:aws:iam::<accountID>:role/stream-assume-role-test-role',
    'aws.credentials.role.sessionName' = 'stream-assume-role-test-session',
    'scan.stream.initpos' = 'TRIM_HORIZON',
    'format' = 'json'
)"#,
    r#"CREATE TABLE exampleoutput (
    'ticket' VARCHAR,
    'price' DOUBLE
)
WITH (
    'connector' = 'kinesis',
    'stream' = 'ExampleOutputStream',
    'aws.region' = 'us-east-1',
    'scan.stream.initpos' = 'LATEST',
    'format' = 'json'
);"#,
    r#"INSERT INTO exampleoutput SELECT ticker, price FROM exampleinputstream"#,
    r#"CREATE TABLE sink_table (
    event_time TIMESTAMP, ticker STRING, price DOUBLE, dt STRING, hr STRING
) PARTITIONED BY (ticker,dt,hr) WITH (
    'connector' = 'filesystem', 'path' = '<s3Path>', 'format' = 'json'
)"#,
    r#"CREATE TABLE s3_sink (
    eventTime TIMESTAMP(3), ticker STRING, price DOUBLE, dt STRING, hr STRING
) PARTITIONED BY (dt, hr) WITH (
    'connector' = 'filesystem', 'format' = 'json', 'path' = 's3a://<s3Path>'
)"#,
    r#"CREATE TABLE my_table (
    ticker VARCHAR(6),
    price DOUBLE,
    event_time VARCHAR(64)
)
PARTITIONED BY (ticker)
WITH (
    'connector'='filesystem',
    'path'='s3a://my_stream/',
    'format'='json',
    'sink.partition-commit.policy.kind'='success-file',
    'sink.partition-commit.delay' = '1 min'
)"#,
    r#"select * from stock;"#,
    r#"SELECT TUMBLE_END(event_time, INTERVAL '5' SECOND) as winend, MAX(price) as five_second_high, ticker
FROM ZeppelinTopic
GROUP BY ticker, TUMBLE(event_time, INTERVAL '5' SECOND)"#,
    r#"SELECT HOP_END(event_time, INTERVAL '3' SECOND, INTERVAL '5' SECOND) AS winend, MAX(price) AS sliding_five_second_max
FROM ZeppelinTopic//or your table name in AWS Glue
GROUP BY HOP(event_time, INTERVAL '3' SECOND, INTERVAL '5' SECOND)"#,
    r#"-- An interactive query prints how many records from the `key-value-stream` we have seen so far, along with the current processing and event time.
SELECT
  MAX(`et`) as `et`,
  MAX(`pt`) as `pt`,
  SUM(`value`) as `sum`
FROM
  `key-values`"#,
    r#"-- An interactive tumbling window query that displays the number of records observed per (event time) second.
-- Browse through the chart views to see different visualizations of the streaming result.
SELECT
  TUMBLE_START(`et`, INTERVAL '1' SECONDS) as `window`,
  `key`,
  SUM(`value`) as `sum`
FROM
  `key-values`
GROUP BY
  TUMBLE(`et`, INTERVAL '1' SECONDS),
  `key`;"#,
    r#"CREATE TABLE default_catalog.default_database.blackhole_table (
  `key` BIGINT,
  `value` BIGINT,
  `et` TIMESTAMP(3)
) WITH (
  'connector' = 'blackhole'
)"#,
    r#"INSERT INTO `test-target`
SELECT `key`, `value`, `et` FROM `test-source` WHERE `key` > 3"#,
    r#"INSERT INTO `default_catalog`.`default_database`.`blackhole_table`
SELECT `key`, `value`, `et` FROM `test-target` WHERE `key` > 7"#,
    r#"-- no need to define the paragraph type with explicit parallelism (such as
-- "%flink.ssql(parallelism=2)")
-- in this case the INSERT query will inherit the parallelism of the of the above paragraph
INSERT INTO `key-values`
SELECT `_1` as `key`, `_2` as `value`, `_3` as `et`
FROM `key-values-data-generator`"#,
    r#"CREATE TABLE `default_catalog`.`default_database`.`my-test-source` (
  `key` BIGINT NOT NULL,
  `value` BIGINT NOT NULL,
  `et` TIMESTAMP(3) NOT NULL,
  `pt` AS PROCTIME(),
  WATERMARK FOR `et` AS `et` - INTERVAL '5' SECOND
)
WITH (
  'connector' = 'kinesis',
  'stream' = 'kda-notebook-example-test-source-stream',
  'aws.region' = 'eu-west-1',
  'scan.stream.initpos' = 'LATEST',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
)"#,
    r#"-- forward data
INSERT INTO `default_catalog`.`default_database`.`my-test-target`
SELECT * FROM `query01`"#,
    r#"-- forward data to local stream (ignored when deployed as application)
SELECT * FROM `query01`"#,
    r#"INSERT INTO table2 SELECT myNewFuncNameForClass(column_name) FROM table1;"#,
    r#"SELECT key, sum(value) FROM key-values GROUP BY key"#,
    r#"SELECT key, value, et FROM `default_catalog`.`default_database`.`my-test-source` WHERE key > 10"#,
];

#[test]
fn parse_as_printed_or_are_refused_for_their_damage() {
    let mut refused = Vec::new();
    for text in TEXTS {
        match parse(&piece(text)) {
            Ok(Statement::CreateTable(create)) => {
                create.definition().unwrap_or_else(|e| panic!("{text}: {e}"));
            }
            Ok(_) => {}
            Err(_) => refused.push(refusal(text)),
        }
    }
    assert_eq!(
        refused,
        [
            "2:5-2:13 'ticket' is a text, not a column's name. | Names are quoted with backticks: write `ticket`.",
            "2:19-2:20 `//` does not begin a comment. | Write -- for a comment to the end of the line, or /* … */.",
            "1:29-1:39 The name key-values holds a hyphen and must be quoted. | Put it in backticks: `key-values`.",
        ]
    );
}

#[test]
fn the_damage_of_the_translation_is_named() {
    let table =
        |option: &str| format!("CREATE TABLE t (a INT) WITH (\n 'connector' = 'kinesis',\n {option}\n)");
    assert!(
        refusal(&table("sink.producer.aggregation-enabled' = 'false'"))
            .starts_with("3:2-3:6 Expected an option's key in single quotes but found `sink`.")
            || refusal(&table("sink.producer.aggregation-enabled' = 'false'")).contains("never closed")
    );
    assert!(refusal(&table("'fmat' = 'json','\" +")).contains("never closed"));
    assert!(refusal("%flink. ssql\nSELECT 1").contains("%flink.ssql"));
    assert!(refusal("%flinkssql\nSELECT 1").contains("%flink.ssql"));
}

#[test]
fn a_semicolon_in_an_option_does_not_split() {
    let text = TEXTS.iter().find(|t| t.contains("IAMLoginModule required;")).unwrap();
    assert_eq!(split(text).unwrap().len(), 1);
    let Statement::CreateTable(create) = ok(text) else { panic!() };
    assert_eq!(
        create.options["properties.sasl.jaas.config"],
        "software.amazon.msk.auth.iam.IAMLoginModule required;"
    );
}
