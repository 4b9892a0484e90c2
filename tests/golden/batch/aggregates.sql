-- order: sorted
SET 'execution.runtime-mode' = 'batch';
SELECT k, SUM(i), AVG(i), MIN(i), MAX(i), COUNT(i), COUNT(DISTINCT i) FROM Types GROUP BY k;
SELECT SUM(ti), SUM(b), AVG(f), SUM(d), AVG(d) FROM Types WHERE i < 10 AND i > 0;
SELECT COUNT(*), COUNT(i), SUM(i) FROM Types WHERE FALSE;
SELECT k, SUM(i) FILTER (WHERE flag), COUNT(*) FILTER (WHERE i > 0) FROM Types GROUP BY k;
SELECT k, LISTAGG(s) FROM (VALUES (1, 'a'), (1, 'b'), (2, 'c')) AS t(k, s) GROUP BY k;
SELECT k, ARRAY_AGG(s), COLLECT(s) FROM (VALUES (1, 'a'), (1, 'a'), (2, 'c')) AS t(k, s) GROUP BY k;
SELECT STDDEV_POP(f), VAR_SAMP(f), STDDEV_SAMP(f) FROM Types WHERE f < 10 AND f > 0.1;
SELECT flag, COUNT(*) FROM Types GROUP BY flag HAVING COUNT(*) > 1;
SELECT MAX(n) FROM (SELECT k, COUNT(*) AS n FROM Types GROUP BY k);
SELECT k, flag, COUNT(*) FROM Types GROUP BY GROUPING SETS ((k, flag), (k), ());
SELECT k, COUNT(*) FROM Types GROUP BY ROLLUP (k);
SELECT window_start, window_end, COUNT(*), SUM(v) FROM TABLE(CUMULATE(TABLE Late, DESCRIPTOR(ts), INTERVAL '2' SECONDS, INTERVAL '6' SECONDS)) GROUP BY window_start, window_end;
SELECT id, window_start, MAX(v) FROM TABLE(TUMBLE(TABLE Late, DESCRIPTOR(ts), INTERVAL '5' SECONDS)) GROUP BY id, window_start, window_end;
SELECT k, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) FROM Types;
SELECT k, i, SUM(i) OVER (PARTITION BY k ORDER BY ts), RANK() OVER (PARTITION BY k ORDER BY i), LAG(i) OVER (PARTITION BY k ORDER BY ts) FROM Types;
SELECT * FROM (SELECT k, i, ROW_NUMBER() OVER (PARTITION BY k ORDER BY i DESC) AS rn FROM Types) WHERE rn <= 1;
