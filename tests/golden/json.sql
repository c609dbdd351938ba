-- JSON in, JSON out; columns are found by name, and what is not there is null.
-- batch 2
-- oracle result: SELECT date_bin(INTERVAL '1 minute', at) AS w, sensor, count(*), avg(celsius), max(note) FROM readings GROUP BY w, sensor
CREATE TABLE readings (
  sensor STRING, celsius DOUBLE, at TIMESTAMP(3), note STRING,
  WATERMARK FOR at AS at - INTERVAL '1' MINUTE
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/readings.json', 'format' = 'json', 'split-size' = '300');
CREATE TABLE result (window_start TIMESTAMP(3), sensor STRING, readings BIGINT, celsius DOUBLE, note STRING)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'json');
INSERT INTO result
SELECT window_start, sensor, COUNT(*), AVG(celsius), MAX(note)
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(at), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, sensor;
