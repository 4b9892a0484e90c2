-- order: ordered
SELECT ts, id FROM Late ORDER BY ts;
SELECT ts, id, v FROM Late ORDER BY ts, v DESC;
SELECT id FROM Late ORDER BY ts ASC;
SELECT ts, k, i FROM Timed ORDER BY ts, i;
SELECT ts, item FROM Bid WHERE price > 1 ORDER BY ts LIMIT 3;
