-- An aggregate over the windows of another one.
-- oracle result: SELECT w, max(bids), count(*) FROM (SELECT date_bin(INTERVAL '500 milliseconds', dateTime) AS w, auction,
--   count(*) AS bids FROM bid GROUP BY w, auction) GROUP BY w
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (window_start TIMESTAMP(3), most BIGINT, auctions BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT window_start, MAX(bids), COUNT(*) FROM (
  SELECT window_start, window_end, auction, COUNT(*) AS bids
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0.5' SECOND))
  GROUP BY window_start, window_end, auction)
GROUP BY window_start, window_end;
