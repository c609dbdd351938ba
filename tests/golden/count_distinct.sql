-- Distinct values, and aggregates of some rows only.
-- process
-- oracle result: SELECT date_bin(INTERVAL '1 second', dateTime) AS w, channel, count(DISTINCT bidder),
--   count(DISTINCT auction) FILTER (WHERE price > 100000), max(price) FILTER (WHERE bidder % 2 = 0) FROM bid
--   WHERE channel IN ('Apple', 'Google', 'Facebook', 'Baidu') GROUP BY w, channel
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (window_start TIMESTAMP(3), channel STRING, bidders BIGINT, dear_auctions BIGINT, highest_even BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT window_start, channel, COUNT(DISTINCT bidder), COUNT(DISTINCT auction) FILTER (WHERE price > 100000),
  MAX(price) FILTER (WHERE MOD(bidder, 2) = 0)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))
WHERE channel IN ('Apple', 'Google', 'Facebook', 'Baidu')
GROUP BY window_start, window_end, channel;
