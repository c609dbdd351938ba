CREATE TABLE clicks (
  `user` STRING, ms BIGINT, kind STRING,
  ts AS to_timestamp_millis(ms),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'in', 'format' = 'csv', 'scan.watermark.idle-timeout' = '10 s');
INSERT INTO counts
SELECT CHAR_LENGTH(`user`), COUNT(*) FILTER (WHERE kind = 'a'), window_end
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY `user`, window_start, window_end
HAVING COUNT(*) > 1;
