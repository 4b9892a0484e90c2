SELECT k, MOD(i, 3) AS m, COUNT(*) AS c, SUM(b) AS s FROM Mixed GROUP BY GROUPING SETS ((k), (MOD(i, 3)), ());
SELECT MOD(i, 3) AS m, COUNT(*) AS c FROM Mixed GROUP BY ROLLUP (MOD(i, 3));
SELECT i + 1 AS m, UPPER(k) AS u, COUNT(*) AS c, GROUPING(i + 1) AS g FROM Mixed GROUP BY CUBE (i + 1, UPPER(k));
SELECT COUNT(*) AS c, SUM(b) AS s FROM Mixed GROUP BY GROUPING SETS ((k), (MOD(i, 3)), ());
SELECT COUNT(*) AS c, SUM(b) AS s FROM Mixed GROUP BY GROUPING SETS ((k), (i), ());
SELECT CASE WHEN i > 2 THEN 'big' ELSE 'small' END AS size, k, COUNT(*) AS c FROM Mixed GROUP BY GROUPING SETS ((CASE WHEN i > 2 THEN 'big' ELSE 'small' END, k), (k));
SELECT CAST(i AS STRING) AS t, SUM(i) AS s, GROUPING_ID(CAST(i AS STRING), k) AS g FROM Mixed GROUP BY ROLLUP (CAST(i AS STRING), k);
SELECT window_start, MOD(i, 2) AS m, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE Timed, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, GROUPING SETS ((MOD(i, 2)), ());
