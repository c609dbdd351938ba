-- The mean of integers is an integer, cut off; that of doubles has its fraction.
-- oracle result: SELECT date_bin(INTERVAL '500 milliseconds', dateTime) AS w, auction % 20, sum(price) / count(price),
--   avg(CAST(price AS DOUBLE)), sum(CAST(price AS DOUBLE) / 7), min(channel), max(url) FROM bid GROUP BY w, auction % 20
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (window_start TIMESTAMP(3), class BIGINT, mean BIGINT, exact DOUBLE, sevenths DOUBLE, first STRING, last STRING)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT window_start, class, AVG(price), AVG(CAST(price AS DOUBLE)), SUM(CAST(price AS DOUBLE) / 7), MIN(channel), MAX(url)
FROM (SELECT window_start, window_end, MOD(auction, 20) AS class, price, channel, url
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0.5' SECOND)))
GROUP BY window_start, window_end, class;
