-- order: ordered
-- CURRENT_WATERMARK after each row, late rows among them.
SELECT id, ts, CURRENT_WATERMARK(ts) FROM Late;
SELECT id FROM Late WHERE CURRENT_WATERMARK(ts) IS NULL OR ts > CURRENT_WATERMARK(ts);
SELECT item, CURRENT_WATERMARK(ts) AS w FROM Bid;
