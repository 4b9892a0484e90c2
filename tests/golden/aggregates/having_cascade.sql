-- order: ordered
SELECT window_start, window_end, SUM(price) AS s FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY window_start, window_end HAVING SUM(price) > 10;
SELECT window_start, sid, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY window_start, window_end, sid HAVING COUNT(*) > 1 AND sid <> 'x';
SELECT w2.window_start, w2.window_end, SUM(s) FROM TABLE(TUMBLE((SELECT window_time AS rt, sid, SUM(price) AS s FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '2' MINUTES)) GROUP BY window_start, window_end, window_time, sid), DESCRIPTOR(rt), INTERVAL '10' MINUTES)) AS w2 GROUP BY w2.window_start, w2.window_end;
CREATE TEMPORARY VIEW PerTwo AS SELECT window_start AS ws, window_end AS we, window_time AS rt, sid, SUM(price) AS s, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '2' MINUTES)) GROUP BY window_start, window_end, window_time, sid;
SELECT window_start, window_end, MAX(s), SUM(n) FROM TABLE(HOP(TABLE PerTwo, DESCRIPTOR(rt), INTERVAL '5' MINUTES, INTERVAL '10' MINUTES)) GROUP BY window_start, window_end;
SELECT window_start, window_end, MAX(s), SUM(n) FROM TABLE(CUMULATE(TABLE PerTwo, DESCRIPTOR(rt), INTERVAL '5' MINUTES, INTERVAL '10' MINUTES)) GROUP BY window_start, window_end;
SELECT window_start, window_end, sid, MAX(s), SUM(n) FROM TABLE(SESSION(TABLE PerTwo PARTITION BY sid, DESCRIPTOR(rt), INTERVAL '3' MINUTES)) GROUP BY window_start, window_end, sid;
SELECT ws, we, COUNT(*), SUM(s) FROM PerTwo GROUP BY ws, we;
SELECT we, COUNT(*), SUM(s) FROM PerTwo GROUP BY we;
SELECT TUMBLE_START(rt, INTERVAL '10' MINUTES), SUM(n), TUMBLE_ROWTIME(rt, INTERVAL '10' MINUTES) FROM PerTwo GROUP BY TUMBLE(rt, INTERVAL '10' MINUTES);
