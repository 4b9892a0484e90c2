-- order: sorted
-- parallelism: 1 (tasks fill their batches on their own)
SET 'table.exec.mini-batch.enabled' = 'true';
SET 'table.exec.mini-batch.allow-latency' = '1 h';
SET 'table.exec.mini-batch.size' = '2';
SET 'table.optimizer.agg-phase-strategy' = 'ONE_PHASE';
SELECT k, COUNT(*) AS n FROM Mixed GROUP BY k;
SELECT COUNT(*), SUM(i) FROM Mixed WHERE i < 100;
SELECT k, MAX(i), LISTAGG(t) FROM Mixed GROUP BY k;
SELECT COUNT(DISTINCT k), MIN(b) FROM Mixed;
SET 'table.exec.mini-batch.size' = '3';
SELECT k, COUNT(*) AS n FROM Mixed GROUP BY k;
SELECT COUNT(*), SUM(i) FROM Mixed WHERE i < 100;
SELECT flag, VAR_POP(f), AVG(d) FROM Mixed GROUP BY flag;
