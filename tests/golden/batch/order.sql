-- order: ordered
SET 'execution.runtime-mode' = 'batch';
SELECT i, k FROM Types ORDER BY i, k;
SELECT i, k FROM Types ORDER BY i DESC, k;
SELECT i, k FROM Types ORDER BY k NULLS LAST, i DESC NULLS FIRST;
SELECT i FROM Types ORDER BY i LIMIT 2;
SELECT i FROM Types ORDER BY i DESC LIMIT 2 OFFSET 1;
SELECT i FROM Types ORDER BY i OFFSET 3 ROWS FETCH NEXT 1 ROWS ONLY;
SELECT k, SUM(v) AS s FROM (VALUES ('a', 1), ('b', 5), ('a', 2)) AS t(k, v) GROUP BY k ORDER BY s DESC;
SELECT k, v FROM (VALUES ('b', 1), ('a', 2), ('a', 1)) AS t(k, v) ORDER BY 1, 2;
SELECT v + 1 AS w FROM (VALUES ('b', 1), ('a', 2)) AS t(k, v) ORDER BY w DESC;
SELECT k FROM (VALUES ('b', 1), ('a', 2)) AS t(k, v) ORDER BY v;
SELECT f, fl, d FROM Types ORDER BY f DESC, fl;
SELECT dt, ts FROM Types ORDER BY dt, ts;
SELECT DISTINCT k FROM Types ORDER BY k;
SELECT k FROM Types UNION SELECT 'zz' ORDER BY k;
SELECT COUNT(*) FROM (SELECT * FROM Types LIMIT 3);
SELECT k, i FROM Types WHERE i > 0 ORDER BY ABS(i - 5), k LIMIT 3;
