-- Shows:  files in, files out: JSON lines filtered into CSV, one job with two sinks.
-- Needs:  runnel run 05_files.sql -D out=/tmp/runnel-example
-- Gives:  CSV files under ${out}/cheap and ${out}/dear.
CREATE TEMPORARY TABLE made (
  id INT,
  price AS CAST(id AS DOUBLE) / 4
) WITH ('connector' = 'datagen', 'fields.id.kind' = 'sequence', 'fields.id.start' = '1', 'fields.id.end' = '100');

CREATE TEMPORARY TABLE cheap (id INT, price DOUBLE) WITH ('connector' = 'filesystem', 'path' = '${out}/cheap', 'format' = 'csv');
CREATE TEMPORARY TABLE dear (id INT, price DOUBLE) WITH ('connector' = 'filesystem', 'path' = '${out}/dear', 'format' = 'csv');

EXECUTE STATEMENT SET BEGIN
  INSERT INTO cheap SELECT id, price FROM made WHERE price < 10;
  INSERT INTO dear SELECT id, price FROM made WHERE price >= 10;
END;

SELECT COUNT(*) AS n, MAX(price) AS most FROM cheap;
