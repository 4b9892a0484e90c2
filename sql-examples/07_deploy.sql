-- Shows:  a long-running job: `runnel deploy 07_deploy.sql`, then `runnel job logs 07_deploy --out -f`;
--         kill its process (`runnel job describe 07_deploy` tells it) and see it come back where it was.
-- Needs:  nothing (datagen).
-- Gives:  every five seconds, how many made-up orders each shop had.
SET 'execution.checkpointing.interval' = '2 s';

CREATE TABLE orders (
  id BIGINT,
  shop INT,
  ordered_at AS CAST(CURRENT_TIMESTAMP AS TIMESTAMP(3)),
  WATERMARK FOR ordered_at AS ordered_at
) WITH (
  'connector' = 'datagen',
  'rows-per-second' = '50',
  'fields.id.kind' = 'sequence',
  'fields.id.start' = '1',
  'fields.id.end' = '1000000000',
  'fields.shop.min' = '1',
  'fields.shop.max' = '3'
);

CREATE TABLE sales (shop INT, until_time TIMESTAMP(3), orders BIGINT, last_id BIGINT) WITH ('connector' = 'print');

INSERT INTO sales
SELECT shop, window_end, COUNT(*), MAX(id)
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ordered_at), INTERVAL '5' SECONDS))
GROUP BY shop, window_start, window_end;
