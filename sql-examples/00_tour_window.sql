SELECT ticker,
       TUMBLE_END(event_time, INTERVAL '2' SECOND) AS window_end,
       COUNT(*) AS trades,
       MAX(price) AS highest
FROM stock
GROUP BY ticker, TUMBLE(event_time, INTERVAL '2' SECOND);
