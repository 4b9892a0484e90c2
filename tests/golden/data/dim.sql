-- dim.json as a table of PostgreSQL's, in which Flink looks up what we look up in the file: see record.sh.
DROP TABLE IF EXISTS dim;
CREATE TABLE dim (id bigint PRIMARY KEY, name varchar(20), price numeric(10, 2), active boolean, cat int);
INSERT INTO dim VALUES (1, 'one', 1.10, true, 10), (2, 'two', 2.20, false, 20), (3, NULL, 3.30, true, 10), (4, 'four', NULL, true, NULL);
