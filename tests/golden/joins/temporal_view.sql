-- order: sorted
-- Event-time temporal joins on a view that keeps the last row of each key.
CREATE TEMPORARY VIEW Rates AS SELECT ts, cur, rate FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY cur ORDER BY ts DESC) AS rn FROM JR) WHERE rn = 1;
SELECT JO.id, JO.amt, R.rate, JO.ts, R.ts AS rts FROM JO JOIN Rates FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur;
SELECT JO.id, JO.amt * R.rate AS v FROM JO LEFT JOIN Rates FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.cur = R.cur;
SELECT JO.id, R.rate FROM JO JOIN Rates FOR SYSTEM_TIME AS OF JO.ts AS R ON JO.amt = R.rate;
