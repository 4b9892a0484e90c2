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
