-- Tumbling windows per key.
-- process
-- oracle result: SELECT date_bin(INTERVAL '500 milliseconds', dateTime) AS w, auction, count(*), sum(price), min(price), max(price)
--   FROM bid GROUP BY w, auction
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (window_start TIMESTAMP(3), auction BIGINT, bids BIGINT, total BIGINT, lowest BIGINT, highest BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT window_start, auction, COUNT(*), SUM(price), MIN(price), MAX(price)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0.5' SECOND))
GROUP BY window_start, window_end, auction;
