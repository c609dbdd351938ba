-- An aggregate without windows says how its rows change.
-- process only
-- keys 1
-- oracle result: SELECT auction, count(*), sum(price), min(price), max(price), sum(price) / count(price) FROM bid GROUP BY auction
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (auction BIGINT, bids BIGINT, total BIGINT, lowest BIGINT, highest BIGINT, mean BIGINT)
WITH ('connector' = 'print');
INSERT INTO result SELECT auction, COUNT(*), SUM(price), MIN(price), MAX(price), AVG(price) FROM bid GROUP BY auction;
