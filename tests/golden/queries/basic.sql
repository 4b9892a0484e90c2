-- order: ordered
SELECT * FROM Mixed;
SELECT i, b + 1 AS b1, d * 2, f / 2, -i FROM Mixed WHERE i > 1 OR d IS NULL;
SELECT k || '-' || t, CASE WHEN i > 2 THEN 'big' WHEN i IS NULL THEN 'none' ELSE 'small' END AS size FROM Mixed;
SELECT CASE k WHEN 'a' THEN 1 WHEN 'b' THEN 2 END, COALESCE(t, 'no'), NULLIF(k, 'a') FROM Mixed;
SELECT k FROM Mixed WHERE k IN ('a', 'c') AND NOT flag;
SELECT k, i FROM Mixed WHERE i BETWEEN 1 AND 3;
SELECT t FROM Mixed WHERE t LIKE '%l%';
WITH big AS (SELECT k, b FROM Mixed WHERE b >= 10), named AS (SELECT k AS name, b FROM big) SELECT name, b FROM named WHERE name IS NOT NULL;
SELECT x.k, x.twice FROM (SELECT k, i * 2 AS twice FROM Mixed) AS x WHERE x.twice > 2;
VALUES (1, 'a'), (2, 'b');
SELECT * FROM (VALUES (1, 'a', 1.5), (2, CAST(NULL AS STRING), 2.25)) AS v(id, name, x);
SELECT 1, 'a', 1.5, TRUE, DATE '2020-01-02', TIMESTAMP '2020-01-02 03:04:05.678', 1e3, CAST(NULL AS INT);
SELECT ARRAY[1, 2, 3], MAP['a', 1], ROW(1, 'x');
SELECT k, ts IS NULL, flag IS TRUE, flag IS NOT FALSE, i IS DISTINCT FROM 1 FROM Mixed;
SELECT * FROM Mixed WHERE FALSE;
