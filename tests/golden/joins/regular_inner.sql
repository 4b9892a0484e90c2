-- order: sorted
-- Inner joins: equal keys, other conditions beside them, none at all, NULL keys, keys of two types, several tables.
CREATE TEMPORARY VIEW A AS SELECT * FROM (VALUES (1, 'x', 10), (2, 'y', 20), (2, 'y', 20), (3, CAST(NULL AS STRING), 30), (CAST(NULL AS INT), 'n', 40), (4, 'z', 5)) AS T(id, s, v);
CREATE TEMPORARY VIEW B AS SELECT * FROM (VALUES (1, 'p', 15), (2, 'q', 5), (2, 'r', 25), (CAST(NULL AS INT), 'n', 1), (5, 't', 2), (1, 'p', 15)) AS T(id, s, w);
CREATE TEMPORARY VIEW C AS SELECT * FROM (VALUES (CAST(1 AS BIGINT), 'c1'), (CAST(2 AS BIGINT), 'c2'), (CAST(NULL AS BIGINT), 'c0')) AS T(k, c);
SELECT A.id, A.s, A.v, B.s, B.w FROM A JOIN B ON A.id = B.id;
SELECT * FROM A INNER JOIN B ON A.id = B.id AND A.v > B.w;
SELECT A.s, B.s FROM A, B WHERE A.id = B.id AND A.s <> B.s;
SELECT A.id, B.id FROM A JOIN B ON A.v < B.w;
SELECT A.id, A.s, B.w FROM A JOIN B ON A.id IS NOT DISTINCT FROM B.id;
SELECT A.id, A.s, B.w FROM A JOIN B ON A.id IS NOT DISTINCT FROM B.id AND A.s = B.s;
SELECT A.id, C.c FROM A JOIN C ON A.id = C.k;
SELECT A.id, C.c FROM A JOIN C ON A.id + 1 = C.k;
SELECT A.id, A.s, B.s AS bs, C.c FROM A JOIN B ON A.id = B.id JOIN C ON C.k = B.id;
SELECT * FROM A JOIN B USING (id);
SELECT * FROM A NATURAL JOIN B;
SELECT A.id, B.id FROM A CROSS JOIN B WHERE B.w > 14;
SELECT a1.id, a2.v FROM A AS a1 JOIN A AS a2 ON a1.id = a2.id;
SELECT A.id, B.s FROM A JOIN B ON A.id = B.id WHERE A.v > 10 AND B.w > 5;
SELECT A.id FROM A JOIN B ON A.id = B.id AND B.s = 'q';
SELECT A.id, B.w FROM A JOIN B ON UPPER(A.s) = UPPER(B.s);
SELECT A.id, B.w FROM A JOIN B ON A.id = B.id OR A.s = B.s;
SELECT A.id, B.w FROM A JOIN B ON TRUE WHERE A.id = 1;
SELECT A.id, B.w FROM A JOIN B ON A.id = B.id AND 1 = 0;
SELECT COUNT(*) AS n FROM A JOIN B ON A.id = B.id WHERE A.id > 100;
