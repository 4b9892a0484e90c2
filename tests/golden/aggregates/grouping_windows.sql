-- order: sorted
SELECT window_start, window_end, sid, SUM(price) AS s, GROUPING(sid) AS g FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY window_start, window_end, GROUPING SETS ((sid), ());
SELECT window_start, window_end, sid, item, COUNT(*) AS n, GROUPING_ID(sid, item) AS g FROM TABLE(HOP(TABLE Bid, DESCRIPTOR(ts), INTERVAL '5' MINUTES, INTERVAL '10' MINUTES)) GROUP BY window_start, window_end, CUBE (sid, item);
SELECT window_start, window_end, sid, COUNT(*) AS n FROM TABLE(CUMULATE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '5' MINUTES, INTERVAL '10' MINUTES)) GROUP BY window_start, window_end, ROLLUP (sid);
SELECT window_start, window_end, u, COUNT(*) AS n FROM TABLE(SESSION(TABLE Sess PARTITION BY u, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, u;
SELECT window_start, window_end, window_time, k, AVG(i), MAX(t) FROM TABLE(TUMBLE(TABLE Timed, DESCRIPTOR(ts), INTERVAL '5' SECOND)) WHERE i < 100 GROUP BY window_start, window_end, window_time, ROLLUP (k);
SELECT sid, COUNT(*) AS n, SUM(price) FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY window_start, window_end, GROUPING SETS ((sid), (item), ()) HAVING COUNT(*) > 1;
SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY GROUPING SETS ((window_start, window_end), (window_start));
SELECT window_start, sid, COUNT(*) FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY GROUPING SETS ((window_start, window_end), (window_start, window_end, sid));
