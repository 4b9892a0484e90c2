-- order: ordered
-- What depends on the order of rows of different keys.
-- parallelism: 1
CREATE TEMPORARY TABLE Changes (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/changes.json', 'format' = 'debezium-json');
CREATE TEMPORARY TABLE Keyed (id INT, g STRING, v INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'filesystem', 'path' = '${DATA}/changes.json', 'format' = 'debezium-json');
CREATE TEMPORARY TABLE S (id INT, g STRING, v INT, d DECIMAL(10,2), t STRING) WITH ('connector' = 'filesystem', 'path' = '${DATA}/steps.csv', 'format' = 'csv', 'csv.null-literal' = '');
SELECT n, LISTAGG(CAST(id AS STRING)) FROM (SELECT id, COUNT(*) AS n FROM S GROUP BY id) GROUP BY n;
