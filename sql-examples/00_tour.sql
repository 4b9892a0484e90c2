-- Shows:  the stream of `runnel tour`: made-up stock prices from the datagen connector.
-- Needs:  nothing.
-- Gives:  a table `stock` (ticker, price, event_time) for the session.
CREATE TEMPORARY TABLE stock (
  pick INT,
  cents INT,
  ticker AS CASE pick WHEN 0 THEN 'AAPL' WHEN 1 THEN 'AMZN' WHEN 2 THEN 'INTC' WHEN 3 THEN 'MSFT' ELSE 'TBV' END,
  price AS CAST(cents / 100.0 AS DECIMAL(10, 2)),
  event_time AS LOCALTIMESTAMP,
  WATERMARK FOR event_time AS event_time - INTERVAL '1' SECOND
) WITH (
  'connector' = 'datagen',
  'rows-per-second' = '50',
  'fields.pick.min' = '0',
  'fields.pick.max' = '4',
  'fields.cents.min' = '1000',
  'fields.cents.max' = '15000'
);
