-- Shows:  totals beside subtotals with ROLLUP, by the key and for all; changes told in mini-batches.
-- Needs:  nothing.
-- Gives:  for each city and for all cities the number of orders and their sum; `level` is 1 where it is for all.
SET 'table.exec.mini-batch.enabled' = 'true';
SET 'table.exec.mini-batch.allow-latency' = '500 ms';
SET 'table.exec.mini-batch.size' = '1000';

CREATE TEMPORARY VIEW orders AS
SELECT * FROM (VALUES ('Oslo', 'book', 12.50), ('Oslo', 'pen', 2.00), ('Lima', 'book', 11.00), ('Lima', 'book', 11.50))
  AS o (city, item, price);

SELECT city, item, COUNT(*) AS orders, SUM(price) AS total, GROUPING(city) AS level
FROM orders
GROUP BY ROLLUP (city, item);
