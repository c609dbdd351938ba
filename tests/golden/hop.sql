-- Each row is in four windows.
-- process
-- oracle result: SELECT w - k AS start, auction, count(*), min(bidder)
--   FROM (SELECT date_bin(INTERVAL '250 milliseconds', dateTime) AS w, auction, bidder FROM bid)
--   CROSS JOIN (VALUES (INTERVAL '0 milliseconds'), (INTERVAL '250 milliseconds'),
--   (INTERVAL '500 milliseconds'), (INTERVAL '750 milliseconds')) AS windows(k) GROUP BY start, auction
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (window_start TIMESTAMP(3), auction BIGINT, bids BIGINT, first_bidder BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT window_start, auction, COUNT(*), MIN(bidder)
FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0.25' SECOND, INTERVAL '1' SECOND))
GROUP BY window_start, window_end, auction;
