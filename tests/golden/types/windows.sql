-- order: sorted
SELECT window_start, SUM(ti), SUM(si), SUM(fl), SUM(d), AVG(ti), AVG(fl), AVG(d), AVG(big) FROM TABLE(TUMBLE(TABLE Types, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end;
SELECT window_end, MIN(ti), MAX(fl), MIN(d), MAX(dt), MIN(tm), MAX(t0), MIN(t6), MAX(l), MIN(k), MAX(big) FROM TABLE(TUMBLE(TABLE Types, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end;
SELECT window_end, COUNT(DISTINCT ti), COUNT(DISTINCT d), COUNT(DISTINCT dt) FILTER (WHERE flag) FROM TABLE(HOP(TABLE Types, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
SELECT window_end, k, SUM(ti), MIN(si), AVG(b), COUNT(r), COUNT(a) FROM TABLE(CUMULATE(TABLE Types, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '15' SECOND)) GROUP BY window_start, window_end, k;
SELECT window_start, window_end, window_time, dt, COUNT(*) FROM TABLE(TUMBLE(TABLE Types, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY dt, window_start, window_end, window_time;
SELECT TUMBLE_START(ts, INTERVAL '5' SECOND), MIN(dt), MAX(tm), SUM(d), AVG(si), COUNT(DISTINCT k) FROM Types GROUP BY TUMBLE(ts, INTERVAL '5' SECOND);
SELECT k, flag, SESSION_START(ts, INTERVAL '3' SECOND), SESSION_END(ts, INTERVAL '3' SECOND), SUM(i), MAX(t6) FROM Types GROUP BY k, flag, SESSION(ts, INTERVAL '3' SECOND);
SELECT k, SESSION_START(ts, INTERVAL '3' SECOND), SESSION_END(ts, INTERVAL '3' SECOND), SUM(i), MAX(t6) FROM Types GROUP BY k, SESSION(ts, INTERVAL '3' SECOND) HAVING COUNT(*) > 1;
SELECT r.y, window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE Types, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY r.y, window_start, window_end;
SELECT a[1] AS first_one, m['y'] AS y, window_start, window_end FROM TABLE(TUMBLE(TABLE Types, DESCRIPTOR(ts), INTERVAL '5' SECOND)) WHERE flag;
