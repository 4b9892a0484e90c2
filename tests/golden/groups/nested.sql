-- order: materialized
-- Flink takes COUNT for growing and so keeps a MAX over it that was taken back, for the moment between -U and +U.
SELECT MAX(n), MIN(n), SUM(n), AVG(n) FROM (SELECT k, COUNT(*) AS n FROM Mixed GROUP BY k);
SELECT MIN(most), COUNT(*) FROM (SELECT k, MAX(i) AS most, MIN(t) AS least FROM Mixed GROUP BY k) WHERE most IS NOT NULL;
SELECT n, COUNT(*) FROM (SELECT flag, COUNT(DISTINCT k) AS n FROM Mixed GROUP BY flag) GROUP BY n HAVING COUNT(*) > 0;
