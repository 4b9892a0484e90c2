-- Shows:  paragraphs as in a Studio notebook: headers, types, templates.
-- Needs:  nothing (datagen).
-- Gives:  sums per ten seconds and key, then one line that is rewritten until the rows end.
%md
# Key values

%flink.ssql
CREATE TEMPORARY TABLE `key-values` (
  `key` BIGINT,
  `value` BIGINT,
  `et` AS TO_TIMESTAMP_LTZ(`value` * 100, 3),
  `pt` AS PROCTIME(),
  WATERMARK FOR `et` AS `et` - INTERVAL '5' SECOND
) WITH (
  'connector' = 'datagen',
  'rows-per-second' = '500',
  'fields.key.min' = '1',
  'fields.key.max' = '5',
  'fields.value.kind' = 'sequence',
  'fields.value.start' = '1',
  'fields.value.end' = '500'
);

%flink.ssql(type=update, parallelism=1, refreshInterval=1000)
-- An interactive tumbling window query that displays the number of records observed per (event time) second.
SELECT
  TUMBLE_START(`et`, INTERVAL '10' SECONDS) as `window`,
  `key`,
  SUM(`value`) as `sum`
FROM
  `key-values`
GROUP BY
  TUMBLE(`et`, INTERVAL '10' SECONDS),
  `key`;

%flink.ssql(type=single, parallelism=1, refreshInterval=1000, template=<h1>{2}</h1> records seen until <h1>Processing Time: {1}</h1> and <h1>Event Time: {0}</h1>)
SELECT
  MAX(`et`) as `et`,
  MAX(`pt`) as `pt`,
  SUM(`value`) as `sum`
FROM
  `key-values`;
