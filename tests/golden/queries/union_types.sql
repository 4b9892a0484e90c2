-- order: materialized
-- UNION, INTERSECT, EXCEPT and joins over columns of unlike types.
SELECT d FROM Types UNION ALL SELECT f FROM Types;
SELECT d FROM Types UNION SELECT f FROM Types;
SELECT d AS x, k FROM Types UNION ALL SELECT f, 'lit' FROM Types UNION ALL SELECT i, k FROM Types;
SELECT MAX(x) FROM (SELECT d AS x FROM Types UNION ALL SELECT f FROM Types);
SELECT d FROM Types INTERSECT SELECT f FROM Types;
SELECT d FROM Types EXCEPT SELECT f FROM Types;
SELECT r FROM Types UNION ALL SELECT ROW(1, 'x', ARRAY[ROW(1)]);
SELECT a FROM Types UNION ALL SELECT ARRAY[CAST(1 AS BIGINT)];
SELECT ti FROM Types UNION ALL SELECT si FROM Types UNION ALL SELECT b FROM Types;
SELECT i FROM Types UNION ALL SELECT d FROM Types;
SELECT d FROM Types UNION SELECT big FROM Types;
SELECT i FROM Types INTERSECT SELECT d FROM Types;
SELECT ts FROM Types UNION ALL SELECT t6 FROM Types;
SELECT k FROM Types UNION ALL SELECT i FROM Types;
SELECT a.i, b.d FROM Types a JOIN Types b ON a.i = b.d;
SELECT a.fl, b.f FROM Types a JOIN Types b ON a.fl = b.f;
SELECT a.d, b.big FROM Types a JOIN Types b ON a.d = b.big;
SELECT a.ts, b.l FROM Types a JOIN Types b ON a.ts = b.l;
SELECT a.r, b.k FROM Types a JOIN Types b ON a.r = b.r;
