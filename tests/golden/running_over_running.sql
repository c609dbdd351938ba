-- An aggregate over rows that change takes back what it counted.
-- process only
-- keys 1
-- oracle result: SELECT bids, count(*), max(auction) FROM (SELECT auction, count(*) AS bids FROM bid GROUP BY auction) GROUP BY bids
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (bids BIGINT, auctions BIGINT, latest BIGINT) WITH ('connector' = 'print');
INSERT INTO result
SELECT bids, COUNT(*), MAX(auction) FROM (SELECT auction, COUNT(*) AS bids FROM bid GROUP BY auction) GROUP BY bids;
