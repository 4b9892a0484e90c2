-- order: sorted
SELECT window_start, window_end, SUM(price) AS total FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY window_start, window_end;
SELECT window_start, window_end, window_time, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY window_start, window_end, window_time;
SELECT * FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES));
SELECT * FROM TABLE(TUMBLE(DATA => TABLE Bid, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' MINUTES));
SELECT window_start, window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '7' MINUTE)) GROUP BY window_start, window_end;
SELECT sid, window_start, window_end, MIN(price), MAX(price), AVG(price), COUNT(DISTINCT item) FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY sid, window_start, window_end;
SELECT window_end, sid, COUNT(*) FILTER (WHERE price > 2) AS pricey, SUM(price) FILTER (WHERE item <> 'C') FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY window_start, window_end, sid;
SELECT k, window_start, window_end, COUNT(*), COUNT(i), SUM(i), SUM(b), SUM(d), SUM(f), AVG(i), AVG(b), AVG(d), AVG(f) FROM TABLE(TUMBLE(TABLE Timed, DESCRIPTOR(ts), INTERVAL '5' SECONDS)) GROUP BY k, window_start, window_end;
SELECT window_start, window_end, MIN(t), MAX(t), MIN(f), MAX(b), MIN(flag), MAX(flag), MIN(ts) FROM TABLE(TUMBLE(TABLE Timed, DESCRIPTOR(ts), INTERVAL '5' SECONDS)) GROUP BY window_start, window_end;
SELECT upper(sid) AS s, window_start, window_end, SUM(price * 2) AS total FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY upper(sid), window_start, window_end HAVING SUM(price) > 2;
