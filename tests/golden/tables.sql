SET 'pipeline.auto-watermark-interval' = '0 ms';
CREATE TEMPORARY TABLE Bid (ts TIMESTAMP(3), price DECIMAL(10, 2), item STRING, sid STRING, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '${DATA}/bid.json', 'format' = 'json');
CREATE TEMPORARY TABLE Late (ts TIMESTAMP(3), id STRING, v INT, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '${DATA}/late.json', 'format' = 'json');
CREATE TEMPORARY TABLE Sess (ts TIMESTAMP(3), u STRING, WATERMARK FOR ts AS ts)
  WITH ('connector' = 'filesystem', 'path' = '${DATA}/session.json', 'format' = 'json');
CREATE TEMPORARY TABLE Mixed (ts TIMESTAMP(3), k STRING, i INT, b BIGINT, d DECIMAL(10, 2), f DOUBLE, t STRING, flag BOOLEAN)
  WITH ('connector' = 'filesystem', 'path' = '${DATA}/mixed.json', 'format' = 'json');
CREATE TEMPORARY TABLE Timed (ts TIMESTAMP(3), k STRING, i INT, b BIGINT, d DECIMAL(10, 2), f DOUBLE, t STRING, flag BOOLEAN, WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '${DATA}/timed.json', 'format' = 'json');
CREATE TEMPORARY TABLE Types (ts TIMESTAMP(3), k STRING, ti TINYINT, si SMALLINT, i INT, b BIGINT, fl FLOAT, f DOUBLE, d DECIMAL(10, 2), big DECIMAL(38, 18), dt DATE, tm TIME(0), t0 TIMESTAMP(0), t6 TIMESTAMP(6), l TIMESTAMP_LTZ(3), bs BYTES, flag BOOLEAN, a ARRAY<INT>, m MAP<STRING, INT>, r ROW<x INT, y STRING, z ARRAY<ROW<q INT>>>, WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '${DATA}/types.json', 'format' = 'json', 'json.timestamp-format.standard' = 'SQL');
CREATE TEMPORARY TABLE Dst (l TIMESTAMP_LTZ(3), k STRING, v INT, WATERMARK FOR l AS l - INTERVAL '0.001' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '${DATA}/dst.csv', 'format' = 'csv');
CREATE TEMPORARY TABLE JA (id INT, s STRING, v INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/join_a.json', 'format' = 'json');
CREATE TEMPORARY TABLE JB (id INT, s STRING, w INT) WITH ('connector' = 'filesystem', 'path' = '${DATA}/join_b.json', 'format' = 'json');
CREATE TEMPORARY TABLE JC (k BIGINT NOT NULL, c STRING) WITH ('connector' = 'filesystem', 'path' = '${DATA}/join_c.json', 'format' = 'json');
CREATE TEMPORARY TABLE JO (ts TIMESTAMP(3), id STRING, cur STRING, amt INT, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'filesystem', 'path' = '${DATA}/join_o.json', 'format' = 'json');
CREATE TEMPORARY TABLE JH (ts TIMESTAMP(3), id STRING, st STRING, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'filesystem', 'path' = '${DATA}/join_h.json', 'format' = 'json');
CREATE TEMPORARY TABLE JR (ts TIMESTAMP(3), cur STRING, rate INT, WATERMARK FOR ts AS ts) WITH ('connector' = 'filesystem', 'path' = '${DATA}/join_r.json', 'format' = 'json');
CREATE TEMPORARY TABLE JRK (ts TIMESTAMP(3), cur STRING, rate INT, PRIMARY KEY (cur) NOT ENFORCED, WATERMARK FOR ts AS ts) WITH ('connector' = 'filesystem', 'path' = '${DATA}/join_r.json', 'format' = 'json');
CREATE TEMPORARY TABLE Ticker (rowtime TIMESTAMP(3), symbol STRING, price INT, tax INT, WATERMARK FOR rowtime AS rowtime - INTERVAL '1' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '${DATA}/ticker.json', 'format' = 'json');
