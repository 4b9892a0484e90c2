-- order: sorted
-- Event-time temporal joins on a versioned table, and what they need.
SELECT JO.id, JO.amt, R.rate, JO.ts, R.ts AS rts FROM JO JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur;
SELECT JO.id, JO.amt * R.rate AS v FROM JO LEFT JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur;
SELECT JO.id, R.rate FROM JO LEFT JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur AND R.rate > 1;
SELECT JO.id, R.rate FROM JO JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur WHERE R.rate > 1;
SELECT JO.id, R.rate FROM JO JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur WHERE R.rate <> 4 AND JO.amt > 15;
SELECT JO.id, R.rate FROM JO LEFT JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur AND JO.amt > 15;
SELECT JO.id, R.rate FROM JO LEFT JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur AND JO.amt > R.rate * 11;
SELECT window_start, SUM(v) AS s FROM TABLE(TUMBLE((SELECT JO.ts AS ts, JO.amt * R.rate AS v FROM JO JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur), DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
SELECT JO.id, a.rate, b.rate AS brate FROM JO JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS a ON JO.cur = a.cur LEFT JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS b ON b.cur = a.cur;
SELECT JO.id, R.rate FROM JO JOIN JR FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur;
SELECT JO.id, R.rate FROM JO RIGHT JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur;
SELECT JO.id, R.rate FROM JO JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.amt = R.rate;
SELECT JO.id, R.rate FROM JO JOIN JRK FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.amt > R.rate;
