-- order: ordered
CREATE TEMPORARY TABLE Changes (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/changes.json', 'format' = 'debezium-json');
CREATE TEMPORARY TABLE Files (id BIGINT, c BIGINT) WITH ('connector' = 'filesystem', 'path' = '/tmp/runnel-golden-none', 'format' = 'json');
INSERT INTO Files SELECT v, COUNT(*) FROM Late GROUP BY v;
INSERT INTO Files SELECT v, COUNT(*) FROM Changes GROUP BY v;
INSERT INTO Files SELECT id, v FROM Changes;
INSERT INTO Files SELECT v, v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY id ORDER BY ts DESC) AS rn FROM Late) WHERE rn = 1;
INSERT INTO Files SELECT v, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY id ORDER BY v DESC) AS rn FROM Late) WHERE rn <= 3;
SELECT id, SUM(v) OVER (ORDER BY p) FROM (SELECT *, PROCTIME() AS p FROM Changes);
