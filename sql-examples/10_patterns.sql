-- Shows:  MATCH_RECOGNIZE: times in which a price fell, and then rose above where it had come from; and windows over them.
-- Needs:  nothing (datagen makes 120 rows).
-- Gives:  a row for each fall with its beginning, its lowest price and its end; then how many there were in each minute.
CREATE TEMPORARY TABLE ticker (
  id BIGINT,
  symbol AS CASE WHEN MOD(id, 2) = 0 THEN 'ACME' ELSE 'GLOBEX' END,
  price AS ABS(MOD(id, 11) - 5) * 10 + MOD(id, 7),
  ts AS TO_TIMESTAMP_LTZ(id * 1000, 3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH (
  'connector' = 'datagen',
  'rows-per-second' = '1000',
  'fields.id.kind' = 'sequence',
  'fields.id.start' = '1',
  'fields.id.end' = '120'
);

CREATE TEMPORARY VIEW falls AS
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol
  ORDER BY ts
  MEASURES
    TOP.ts AS since,
    TOP.price AS price_before,
    LAST(DOWN.price) AS lowest,
    COUNT(DOWN.price) AS steps,
    UP.price AS price_after,
    MATCH_ROWTIME(ts) AS ts
  ONE ROW PER MATCH
  AFTER MATCH SKIP TO LAST UP
  PATTERN (TOP DOWN+ UP) WITHIN INTERVAL '1' MINUTE
  DEFINE
    DOWN AS DOWN.price < LAST(price, 1),
    UP AS UP.price > TOP.price
);

SELECT symbol, since, price_before, lowest, steps, price_after FROM falls;

SELECT window_start, COUNT(*) AS falls, MAX(price_before - lowest) AS deepest
FROM TABLE(TUMBLE(TABLE falls, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end;
