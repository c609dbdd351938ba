-- Rows are dropped by a predicate (Nexmark q2).
-- stateless
-- oracle result: SELECT auction, price FROM bid WHERE auction % 7 = 0 AND NOT channel = 'Apple'
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (auction BIGINT, price BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result SELECT auction, price FROM bid WHERE MOD(auction, 7) = 0 AND channel <> 'Apple';
