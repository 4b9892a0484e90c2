-- Shows:  the guide's tutorial over Kinesis: five-second high per ticker, written to another stream.
-- Needs:  two Kinesis streams. runnel run 04_stock_kinesis.sql -D region=us-east-1 -D input=ExampleInputStream
--         -D output=ExampleOutputStream -D endpoint=https://kinesis.us-east-1.amazonaws.com
-- Gives:  nothing to see here; rows of {"ticker", "high", "window_end"} in the output stream. Runs until Ctrl-C.
CREATE TEMPORARY TABLE prices (
  ticker VARCHAR(6),
  price DOUBLE,
  event_time TIMESTAMP(3),
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
)
PARTITIONED BY (ticker)
WITH (
  'connector' = 'kinesis',
  'stream' = '${input}',
  'aws.region' = '${region}',
  'aws.endpoint' = '${endpoint}',
  'scan.stream.initpos' = 'TRIM_HORIZON',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TEMPORARY TABLE highs (
  ticker VARCHAR(6),
  high DOUBLE,
  window_end TIMESTAMP(3)
)
PARTITIONED BY (ticker)
WITH (
  'connector' = 'kinesis',
  'stream' = '${output}',
  'aws.region' = '${region}',
  'aws.endpoint' = '${endpoint}',
  'sink.partitioner-field-delimiter' = ';',
  'sink.batch.max-size' = '100',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

SET 'table.exec.source.idle-timeout' = '5 s';

INSERT INTO highs
SELECT ticker, MAX(price), TUMBLE_END(event_time, INTERVAL '5' SECOND)
FROM prices
GROUP BY ticker, TUMBLE(event_time, INTERVAL '5' SECOND);
