-- Shows:  the guide's tutorial over Kafka: tumbling five-second high per ticker, and a hopping one.
-- Needs:  Kafka at ${kafka} with a topic ${topic} of {"event_time": "2024-06-12 15:08:32", "ticker": "AMZN", "price": 7.5}.
--         runnel run 03_stock_kafka.sql -D kafka=localhost:9092 -D topic=stock
-- Gives:  a row for each window and ticker.
CREATE TEMPORARY TABLE stock (
  ticker VARCHAR(6),
  price DOUBLE,
  event_time TIMESTAMP(3),
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = '${topic}',
  'properties.bootstrap.servers' = '${kafka}',
  'properties.group.id' = 'runnel-example',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = 'latest-offset',
  'format' = 'json'
);

SELECT TUMBLE_END(event_time, INTERVAL '5' SECOND) AS winend, MAX(price) AS five_second_high, ticker
FROM stock
GROUP BY ticker, TUMBLE(event_time, INTERVAL '5' SECOND);

SELECT HOP_END(event_time, INTERVAL '3' SECOND, INTERVAL '5' SECOND) AS winend, MAX(price) AS sliding_five_second_max
FROM stock
GROUP BY HOP(event_time, INTERVAL '3' SECOND, INTERVAL '5' SECOND);
