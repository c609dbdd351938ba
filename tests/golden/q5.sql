-- A window join with a residual condition (Nexmark q5).
-- process
-- oracle result: WITH counts AS (SELECT w - k AS start, auction, count(*) AS num
--   FROM (SELECT date_bin(INTERVAL '500 milliseconds', dateTime) AS w, auction FROM bid)
--   CROSS JOIN (VALUES (INTERVAL '0 milliseconds'), (INTERVAL '500 milliseconds'), (INTERVAL '1 second')) AS windows(k) GROUP BY start, auction)
--   SELECT start, auction, num FROM counts AS c WHERE num >= (SELECT max(num) FROM counts AS m WHERE m.start = c.start)
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (starttime TIMESTAMP(3), auction BIGINT, num BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT AuctionBids.starttime, AuctionBids.auction, AuctionBids.num
FROM (
  SELECT auction, COUNT(*) AS num, window_start AS starttime, window_end AS endtime
  FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0.5' SECOND, INTERVAL '1.5' SECOND))
  GROUP BY auction, window_start, window_end
) AS AuctionBids
JOIN (
  SELECT MAX(CountBids.num) AS maxn, CountBids.starttime, CountBids.endtime
  FROM (
    SELECT COUNT(*) AS num, window_start AS starttime, window_end AS endtime
    FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0.5' SECOND, INTERVAL '1.5' SECOND))
    GROUP BY auction, window_start, window_end
  ) AS CountBids
  GROUP BY CountBids.starttime, CountBids.endtime
) AS MaxBids
ON AuctionBids.starttime = MaxBids.starttime
  AND AuctionBids.endtime = MaxBids.endtime
  AND AuctionBids.num >= MaxBids.maxn;
