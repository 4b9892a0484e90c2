-- order: ordered
SET 'table.exec.source.cdc-events-duplicate' = 'true';
CREATE TEMPORARY TABLE Keyed (id INT, g STRING, v INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'filesystem', 'path' = '${DATA}/changes_twice.json', 'format' = 'debezium-json');
SELECT * FROM Keyed;
SELECT g, COUNT(*), SUM(v) FROM Keyed GROUP BY g;
SELECT id, v FROM Keyed WHERE g = 'x';
SELECT g, id, v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY g ORDER BY v DESC) AS rn FROM Keyed) WHERE rn <= 1;
