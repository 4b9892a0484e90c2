-- order: sorted
SET 'table.local-time-zone' = 'America/Los_Angeles';
SELECT window_start, window_end, window_time, COUNT(*) FROM TABLE(TUMBLE(TABLE Dst, DESCRIPTOR(l), INTERVAL '1' HOUR)) GROUP BY window_start, window_end, window_time;
SELECT window_start, window_end, COUNT(*) FROM TABLE(HOP(TABLE Dst, DESCRIPTOR(l), INTERVAL '30' MINUTE, INTERVAL '1' HOUR)) GROUP BY window_start, window_end;
SELECT SESSION_START(l, INTERVAL '70' MINUTE), SESSION_END(l, INTERVAL '70' MINUTE), SESSION_ROWTIME(l, INTERVAL '70' MINUTE), COUNT(*) FROM Dst GROUP BY SESSION(l, INTERVAL '70' MINUTE);
SELECT window_start, window_end, window_time, COUNT(*) FROM TABLE(SESSION(TABLE Dst, DESCRIPTOR(l), INTERVAL '70' MINUTE)) GROUP BY window_start, window_end, window_time;
SELECT l, window_start, window_end, window_time FROM TABLE(TUMBLE(TABLE Dst, DESCRIPTOR(l), INTERVAL '1' HOUR));
SELECT l, window_start, window_end, window_time FROM TABLE(SESSION(TABLE Dst, DESCRIPTOR(l), INTERVAL '70' MINUTE));
SELECT window_start, window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE Dst, DESCRIPTOR(l), INTERVAL '1' DAY)) GROUP BY window_start, window_end;
SELECT TUMBLE_START(l, INTERVAL '1' DAY), TUMBLE_END(l, INTERVAL '1' DAY), TUMBLE_ROWTIME(l, INTERVAL '1' DAY), SUM(v) FROM Dst GROUP BY TUMBLE(l, INTERVAL '1' DAY);
SELECT HOP_START(l, INTERVAL '1' HOUR, INTERVAL '2' HOUR), HOP_END(l, INTERVAL '1' HOUR, INTERVAL '2' HOUR), SUM(v) FROM Dst GROUP BY HOP(l, INTERVAL '1' HOUR, INTERVAL '2' HOUR);
SELECT window_start, window_end, SUM(v) FROM TABLE(CUMULATE(TABLE Dst, DESCRIPTOR(l), INTERVAL '2' HOUR, INTERVAL '6' HOUR)) GROUP BY window_start, window_end;
