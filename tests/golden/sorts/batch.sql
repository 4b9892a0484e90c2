-- order: ordered
SET 'execution.runtime-mode' = 'batch';
SELECT id, v FROM Late ORDER BY v DESC;
SELECT id, v FROM Late ORDER BY id;
SELECT k, i, b FROM Mixed ORDER BY k, i DESC, b;
SELECT k, i FROM Mixed ORDER BY k DESC NULLS LAST, i NULLS LAST, ts;
SELECT id, v FROM Late ORDER BY v DESC LIMIT 3;
SELECT id, v FROM Late ORDER BY v DESC LIMIT 3 OFFSET 2;
SELECT k, COUNT(*) AS c FROM Mixed GROUP BY k ORDER BY c DESC, k;
SELECT item, price FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY price DESC) AS rn FROM Bid) WHERE rn <= 2 ORDER BY price;
SELECT item, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY sid ORDER BY price DESC) AS rn FROM Bid) WHERE rn <= 2 ORDER BY item;
SELECT ts, id FROM Late ORDER BY ts DESC;
