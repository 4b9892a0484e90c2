-- order: sorted
SELECT k FROM Mixed WHERE i = 1 UNION ALL SELECT t FROM Mixed WHERE i = 1;
SELECT window_start, window_end, SUM(price) FROM TABLE(TUMBLE((SELECT * FROM Bid WHERE sid = 's1' UNION ALL SELECT * FROM Bid WHERE sid = 's2'), DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY window_start, window_end;
SELECT k FROM Mixed UNION SELECT sid FROM Bid;
