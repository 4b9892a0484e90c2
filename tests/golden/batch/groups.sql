-- order: sorted
SET 'execution.runtime-mode' = 'batch';
SELECT k, COUNT(*), SUM(i), MAX(b) FROM Mixed GROUP BY k;
SELECT COUNT(*) FROM Mixed WHERE FALSE;
SELECT SUM(n) FROM (SELECT k, COUNT(*) AS n FROM Mixed GROUP BY k);
SELECT DISTINCT k, flag FROM Mixed;
SELECT k FROM Mixed UNION SELECT sid FROM Bid;
SELECT window_start, window_end, COUNT(*), SUM(v) FROM TABLE(TUMBLE(TABLE Late, DESCRIPTOR(ts), INTERVAL '3' SECONDS)) GROUP BY window_start, window_end;
SELECT window_start, window_end, COUNT(*) FROM TABLE(HOP(TABLE Late, DESCRIPTOR(ts), INTERVAL '2' SECONDS, INTERVAL '4' SECONDS)) GROUP BY window_start, window_end;
SELECT TUMBLE_START(ts, INTERVAL '10' SECOND) AS w, COUNT(*) AS n FROM Late GROUP BY TUMBLE(ts, INTERVAL '10' SECOND);
SELECT k, MAX(i) FROM Mixed GROUP BY k HAVING MAX(i) < 5;
SELECT n, COUNT(*) FROM (SELECT k, COUNT(*) AS n FROM Mixed GROUP BY k) GROUP BY n;
