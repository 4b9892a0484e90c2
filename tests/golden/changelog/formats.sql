-- order: ordered
-- Changes as Canal, Maxwell and GoldenGate write them.
-- parallelism: 1
CREATE TEMPORARY TABLE Canal (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/canal.json', 'format' = 'canal-json');
CREATE TEMPORARY TABLE CanalItems (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/canal.json', 'format' = 'canal-json', 'canal-json.table.include' = 'it.*');
CREATE TEMPORARY TABLE CanalShop (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/canal.json', 'format' = 'canal-json', 'canal-json.database.include' = 'shop|arch', 'canal-json.table.include' = 'items|other');
CREATE TEMPORARY TABLE Maxwell (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/maxwell.json', 'format' = 'maxwell-json');
CREATE TEMPORARY TABLE MaxwellKeyed (id INT, g STRING, v INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'filesystem', 'path' = '${DATA}/maxwell.json', 'format' = 'maxwell-json');
CREATE TEMPORARY TABLE Ogg (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/ogg.json', 'format' = 'ogg-json');
CREATE TEMPORARY TABLE NotCanal (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/maxwell.json', 'format' = 'canal-json');
CREATE TEMPORARY TABLE NotMaxwell (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/canal.json', 'format' = 'maxwell-json');
CREATE TEMPORARY TABLE SkippingMaxwell (id INT, g STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/canal.json', 'format' = 'maxwell-json', 'maxwell-json.ignore-parse-errors' = 'true');
SELECT * FROM Canal;
SELECT v FROM Canal;
SELECT id, g FROM Canal WHERE v > 4;
SELECT g, COUNT(*), SUM(v), MAX(v) FROM Canal GROUP BY g;
SELECT * FROM CanalItems;
SELECT COUNT(*) FROM CanalItems;
SELECT * FROM CanalShop;
SELECT * FROM Maxwell;
SELECT g, v FROM Maxwell;
SELECT g, COUNT(*), SUM(v), MIN(id) FROM Maxwell GROUP BY g;
SELECT id, v FROM MaxwellKeyed ORDER BY v DESC LIMIT 2;
SELECT * FROM Ogg;
SELECT g, SUM(v) FROM Ogg GROUP BY g;
SELECT * FROM NotCanal;
SELECT * FROM NotMaxwell;
SELECT * FROM SkippingMaxwell;
