-- order: sorted
-- Temporal joins with changes of a database, views, and after windows.
CREATE TEMPORARY TABLE Cdc (ts TIMESTAMP(3), cur STRING, rate INT, PRIMARY KEY (cur) NOT ENFORCED, WATERMARK FOR ts AS ts) WITH ('connector' = 'filesystem', 'path' = '${DATA}/join_r_changes.json', 'format' = 'debezium-json');
CREATE TEMPORARY VIEW V AS SELECT ts, cur, rate FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY cur ORDER BY ts DESC) AS rn FROM JR) WHERE rn = 1;
CREATE TEMPORARY VIEW VF AS SELECT ts, cur, rate * 10 AS r10 FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY cur ORDER BY ts DESC) AS rn FROM JR) WHERE rn = 1;
SELECT * FROM Cdc;
SELECT JO.id, R.rate, R.ts FROM JO JOIN Cdc FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur;
SELECT JO.id, R.rate FROM JO LEFT JOIN Cdc FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur;
SELECT JO.id, V.rate FROM JO JOIN V FOR SYSTEM_TIME AS OF JO.ts ON JO.cur = V.cur;
SELECT JO.id, VF.r10 FROM JO LEFT JOIN VF FOR SYSTEM_TIME AS OF JO.ts ON JO.cur = VF.cur;
SELECT JO.id, a.rate, b.rate FROM JO LEFT JOIN V FOR SYSTEM_TIME AS OF JO.ts AS a ON JO.cur = a.cur LEFT JOIN Cdc FOR SYSTEM_TIME AS OF JO.ts AS b ON JO.cur = b.cur;
SELECT o.cur, COUNT(*), SUM(o.amt * r.rate) FROM JO AS o JOIN JRK FOR SYSTEM_TIME AS OF o.ts AS r ON o.cur = r.cur GROUP BY o.cur HAVING COUNT(*) > 99;
SELECT o.id, r.rate FROM JO AS o LEFT JOIN JRK FOR SYSTEM_TIME AS OF o.ts AS r ON o.cur = r.cur AND o.amt > 20;
SELECT o.id, r.rate FROM JO AS o LEFT JOIN JRK FOR SYSTEM_TIME AS OF o.ts AS r ON r.cur = o.cur WHERE o.amt BETWEEN 20 AND 60;
SELECT o.id, r.* FROM JO AS o LEFT JOIN JRK FOR SYSTEM_TIME AS OF o.ts AS r ON r.cur = o.cur;
SELECT * FROM JO AS o JOIN JRK FOR SYSTEM_TIME AS OF o.ts AS r ON r.cur = o.cur;
SELECT o.id, r.rate FROM JO AS o JOIN JRK FOR SYSTEM_TIME AS OF o.ts AS r ON UPPER(o.cur) = r.cur;
SELECT o.id, r.rate FROM JO AS o FULL JOIN JRK FOR SYSTEM_TIME AS OF o.ts AS r ON o.cur = r.cur;
SELECT o.id, r.rate FROM (SELECT id, cur, ts FROM JO WHERE amt > 20) AS o JOIN JRK FOR SYSTEM_TIME AS OF o.ts AS r ON o.cur = r.cur;
SELECT w.window_start, w.s * r.rate FROM (SELECT window_start, window_time, cur, SUM(amt) AS s FROM TABLE(TUMBLE(TABLE JO, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, window_time, cur) w JOIN JRK FOR SYSTEM_TIME AS OF w.window_time AS r ON w.cur = r.cur;
