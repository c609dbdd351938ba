-- Rows carry their windows through a filter before they are aggregated.
-- oracle result: SELECT date_bin(INTERVAL '1 second', dateTime) AS w, bidder % 10, count(*) FROM bid
--   WHERE price > 10000 GROUP BY w, bidder % 10
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (window_start TIMESTAMP(3), class BIGINT, bids BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
CREATE VIEW windowed AS
SELECT window_start, window_end, MOD(bidder, 10) AS class, price
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND));
INSERT INTO result
SELECT window_start, class, COUNT(*) FROM windowed WHERE price > 10000 GROUP BY window_start, window_end, class;
