-- order: materialized
-- Windows over rows that come at the end of input only.
SET 'execution.runtime-mode' = 'batch';
SELECT window_start, MAX(run) FROM TABLE(TUMBLE((SELECT sid, ts, SUM(price) OVER (PARTITION BY sid ORDER BY ts) AS run FROM Bid), DESCRIPTOR(ts), INTERVAL '10' MINUTE)) GROUP BY window_start, window_end;
SELECT window_start, COUNT(*) FROM TABLE(TUMBLE((SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY sid ORDER BY ts) AS rn FROM Bid) WHERE rn = 1), DESCRIPTOR(ts), INTERVAL '10' MINUTE)) GROUP BY window_start, window_end;
SELECT TUMBLE_START(ts, INTERVAL '10' MINUTE), COUNT(*) FROM (SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY sid ORDER BY ts DESC) AS rn FROM Bid) WHERE rn = 1) GROUP BY TUMBLE(ts, INTERVAL '10' MINUTE);
SELECT window_start, window_end, SUM(c) FROM TABLE(HOP((SELECT ts, COUNT(*) AS c FROM Bid GROUP BY ts), DESCRIPTOR(ts), INTERVAL '5' MINUTE, INTERVAL '10' MINUTE)) GROUP BY window_start, window_end;
SELECT window_start, window_end, COUNT(*) FROM TABLE(CUMULATE((SELECT * FROM Bid ORDER BY price LIMIT 4), DESCRIPTOR(ts), INTERVAL '5' MINUTE, INTERVAL '10' MINUTE)) GROUP BY window_start, window_end;
SELECT window_start, sid, COUNT(*) FROM TABLE(TUMBLE((SELECT a.ts, a.sid FROM Bid a LEFT JOIN Bid b ON a.price + 1 = b.price), DESCRIPTOR(ts), INTERVAL '10' MINUTE)) GROUP BY window_start, window_end, sid;
SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY price DESC) AS rn FROM TABLE(TUMBLE((SELECT DISTINCT ts, item, price FROM Bid), DESCRIPTOR(ts), INTERVAL '10' MINUTE))) WHERE rn <= 1;
SELECT a.sid, a.run, b.item FROM (SELECT sid, ts, SUM(price) OVER (PARTITION BY sid ORDER BY ts) AS run FROM Bid) a JOIN Bid b ON a.sid = b.sid AND b.ts BETWEEN a.ts - INTERVAL '2' MINUTE AND a.ts;
