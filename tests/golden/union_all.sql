-- Two streams become one, and its windows close by the slower.
-- oracle result: SELECT date_bin(INTERVAL '1 second', at) AS w, kind, count(*), sum(amount) FROM (
--   SELECT 'bid' AS kind, price AS amount, dateTime AS at FROM bid
--   UNION ALL SELECT 'auction', initialBid, dateTime FROM auction) GROUP BY w, kind
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE auction (
  id BIGINT, seller BIGINT, category BIGINT, initialBid BIGINT, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'auction', 'nexmark.events' = '9000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (window_start TIMESTAMP(3), kind STRING, events BIGINT, amount BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
CREATE VIEW both AS
SELECT 'bid' AS kind, price AS amount, dateTime AS at FROM bid
UNION ALL
SELECT 'auction' AS kind, initialBid AS amount, dateTime AS at FROM auction;
INSERT INTO result
SELECT window_start, kind, COUNT(*), SUM(amount)
FROM TABLE(TUMBLE(TABLE both, DESCRIPTOR(at), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, kind;
