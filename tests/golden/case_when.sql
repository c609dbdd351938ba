-- CASE in both forms, inside an aggregate too.
-- oracle result: SELECT date_bin(INTERVAL '1 second', dateTime),
--   CASE WHEN price < 1000 THEN 'low' WHEN price < 100000 THEN 'middle' ELSE 'high' END AS class,
--   sum(CASE channel WHEN 'Apple' THEN 1 WHEN 'Google' THEN 2 ELSE 0 END) FROM bid GROUP BY 1, 2
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (window_start TIMESTAMP(3), class STRING, points BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT window_start, class, SUM(points) FROM (
  SELECT window_start, window_end,
    CASE WHEN price < 1000 THEN 'low' WHEN price < 100000 THEN 'middle' ELSE 'high' END AS class,
    CASE channel WHEN 'Apple' THEN 1 WHEN 'Google' THEN 2 ELSE 0 END AS points
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND)))
GROUP BY window_start, window_end, class;
