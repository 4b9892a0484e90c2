-- Shows:  the four window functions over event time.
-- Needs:  nothing (datagen makes 200 rows).
-- Gives:  counts per window.
CREATE TEMPORARY TABLE clicks (
  id BIGINT,
  user_name AS CASE WHEN MOD(id, 3) = 0 THEN 'ann' ELSE 'bob' END,
  click_time AS TO_TIMESTAMP_LTZ(id * 500, 3),
  WATERMARK FOR click_time AS click_time - INTERVAL '1' SECOND
) WITH (
  'connector' = 'datagen',
  'rows-per-second' = '1000',
  'fields.id.kind' = 'sequence',
  'fields.id.start' = '1',
  'fields.id.end' = '200'
);

SELECT window_start, window_end, COUNT(*) AS clicks
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(click_time), INTERVAL '20' SECONDS))
GROUP BY window_start, window_end;

SELECT user_name, window_start, window_end, COUNT(*) AS clicks
FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(click_time), INTERVAL '20' SECONDS, INTERVAL '40' SECONDS))
GROUP BY user_name, window_start, window_end;

SELECT window_start, window_end, COUNT(*) AS clicks_so_far
FROM TABLE(CUMULATE(TABLE clicks, DESCRIPTOR(click_time), INTERVAL '20' SECONDS, INTERVAL '60' SECONDS))
GROUP BY window_start, window_end;

SELECT user_name, window_start, window_end, COUNT(*) AS clicks
FROM TABLE(SESSION(TABLE clicks PARTITION BY user_name, DESCRIPTOR(click_time), INTERVAL '2' SECONDS))
GROUP BY user_name, window_start, window_end;
