-- order: sorted
SET 'table.exec.mini-batch.enabled' = 'true';
SELECT k, COUNT(*) AS n FROM Mixed GROUP BY k;
SET 'table.exec.mini-batch.size' = '100';
SELECT k, COUNT(*) AS n FROM Mixed GROUP BY k;
SET 'table.exec.mini-batch.allow-latency' = '1 h';
SELECT k, COUNT(*) AS n FROM Mixed GROUP BY k;
SELECT k, SUM(i), MAX(t), COUNT(DISTINCT flag), AVG(b) FROM Mixed GROUP BY k;
SELECT COUNT(*), SUM(d) FROM Mixed;
SELECT DISTINCT k FROM Mixed;
SELECT n, COUNT(*) FROM (SELECT k, COUNT(*) AS n FROM Mixed GROUP BY k) GROUP BY n;
SELECT FIRST_VALUE(i), LAST_VALUE(t), LISTAGG(t) FROM Mixed;
SELECT k, COUNT(*) FROM Mixed GROUP BY ROLLUP (k);
SELECT k, COUNT(*) FILTER (WHERE flag), STDDEV_POP(f) FROM Mixed WHERE i < 100 GROUP BY k;
SELECT k, SUM(i) FROM Mixed WHERE i < 100 GROUP BY k HAVING SUM(i) > 1;
SELECT window_start, k, COUNT(*) FROM TABLE(TUMBLE(TABLE Timed, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, k;
