-- order: ordered
CREATE TEMPORARY TABLE Changes (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/changes.json', 'format' = 'debezium-json');
CREATE TEMPORARY TABLE Keyed (id INT, g STRING, v INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'filesystem', 'path' = '${DATA}/changes.json', 'format' = 'debezium-json');
SELECT * FROM Changes;
SELECT id, v FROM Changes WHERE g = 'x';
SELECT g, COUNT(*), SUM(v), MAX(v), MIN(v) FROM Changes GROUP BY g;
SELECT COUNT(*), SUM(v) FROM Changes;
SELECT DISTINCT g FROM Changes;
SELECT g, id, v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM Changes) WHERE rn <= 1;
SELECT g, id, v, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM Changes) WHERE rn <= 2;
SELECT g, id, v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v) AS rn FROM Keyed) WHERE rn <= 2;
SELECT id, v FROM Keyed ORDER BY v DESC LIMIT 2;
SELECT id, UPPER(g), v * 2 FROM Keyed WHERE v > 5;
SELECT c, COUNT(*) FROM (SELECT g, COUNT(*) AS c FROM Keyed GROUP BY g) GROUP BY c;
SELECT id, LAST_VALUE(v) FROM Keyed GROUP BY id;
