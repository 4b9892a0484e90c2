-- Shows:  a query over fixed rows: no table, no service.
-- Needs:  nothing.
-- Gives:  a row for each name, updated as more rows of the same name come.
SELECT name, COUNT(*) AS times
FROM (VALUES ('Bob'), ('Alice'), ('Greg'), ('Bob')) AS people(name)
GROUP BY name;
