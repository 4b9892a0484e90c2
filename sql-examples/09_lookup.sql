-- Shows:  a lookup join: each order beside what a table of files says of its item at that moment.
-- Needs:  runnel run 09_lookup.sql -D out=/tmp/runnel-example
-- Gives:  ten orders with the names of their items; items that nobody knows come with NULL.
-- With 'connector' = 'jdbc' the table is one of PostgreSQL: see docs/connectors/jdbc.md.
CREATE TEMPORARY TABLE items (id INT, name STRING) WITH ('connector' = 'filesystem', 'path' = '${out}/items', 'format' = 'csv');

INSERT INTO items VALUES (0, 'book'), (1, 'pen');

CREATE TEMPORARY TABLE orders (
  id INT,
  item AS MOD(id, 3),
  proc_time AS PROCTIME()
) WITH ('connector' = 'datagen', 'fields.id.kind' = 'sequence', 'fields.id.start' = '1', 'fields.id.end' = '10');

SELECT o.id, i.name
FROM orders AS o
LEFT JOIN items FOR SYSTEM_TIME AS OF o.proc_time AS i ON o.item = i.id;
