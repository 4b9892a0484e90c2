-- order: ordered
-- Aggregates of rows that are alone in their groups; ranks that can only be one.
-- parallelism: 1
CREATE TEMPORARY TABLE Changes (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/changes.json', 'format' = 'debezium-json');
CREATE TEMPORARY TABLE Keyed (id INT, g STRING, v INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'filesystem', 'path' = '${DATA}/changes.json', 'format' = 'debezium-json');
CREATE TEMPORARY TABLE S (id INT, g STRING, v INT, d DECIMAL(10,2), t STRING) WITH ('connector' = 'filesystem', 'path' = '${DATA}/steps.csv', 'format' = 'csv', 'csv.null-literal' = '');
SELECT k, MAX(n) FROM (SELECT k, COUNT(*) AS n FROM Timed GROUP BY k) GROUP BY k;
SELECT k, COUNT(n) FROM (SELECT k, COUNT(*) AS n FROM Timed GROUP BY k) GROUP BY k;
SELECT k, SUM(n), MIN(n) FROM (SELECT k, COUNT(*) AS n FROM Timed GROUP BY k) GROUP BY k;
SELECT k, flag, MAX(n) FROM (SELECT k, flag, COUNT(*) AS n FROM Timed GROUP BY k, flag) GROUP BY k, flag;
SELECT k, MAX(n) FROM (SELECT k, flag, COUNT(*) AS n FROM Timed GROUP BY k, flag) GROUP BY k;
SELECT id, MAX(v) FROM Keyed GROUP BY id;
SELECT id, SUM(v) FROM Keyed GROUP BY id;
SELECT id, COUNT(*) FROM Keyed GROUP BY id;
SELECT DISTINCT id, g FROM Keyed;
SELECT DISTINCT g FROM Keyed;
SELECT id, g, MAX(v) FROM Keyed GROUP BY id, g;
SELECT DISTINCT k FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS rn FROM Timed) WHERE rn = 1;
SELECT k, MAX(i) FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS rn FROM Timed) WHERE rn = 1 GROUP BY k;
SELECT DISTINCT k, n FROM (SELECT k, COUNT(*) AS n FROM Timed GROUP BY k);
SELECT id, v FROM Keyed ORDER BY v DESC LIMIT 2;
SELECT g, id, v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM Keyed) WHERE rn BETWEEN 2 AND 3;
SELECT g, id, v, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM Keyed) WHERE rn BETWEEN 2 AND 3;
SELECT g, id, v, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM S) WHERE rn BETWEEN 2 AND 3;
SELECT g, id, v, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM Keyed) WHERE rn = 1;
SELECT g, id, v, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM Keyed) WHERE rn = 2;
SELECT g, id, v, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM S) WHERE rn = 1;
SELECT g, id, v, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM S) WHERE rn = 2;
SELECT g, id, v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM S) WHERE rn = 2;
SELECT g, v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM Keyed) WHERE rn <= 2;
SELECT v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY n DESC) AS rn FROM (SELECT g, id, COUNT(*) AS n, MAX(v) AS v FROM S GROUP BY g, id)) WHERE rn <= 1;
