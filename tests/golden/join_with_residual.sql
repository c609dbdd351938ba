-- A regular join whose condition is more than equalities, of a stream with itself under another name.
-- oracle result: SELECT a.id, p.id, a.initialBid FROM auction a JOIN person p ON a.seller = p.id
--   AND a.dateTime > p.dateTime + INTERVAL '1 second' AND a.initialBid > p.id * 10
CREATE TABLE person (
  id BIGINT, name STRING, city STRING, state STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'person', 'nexmark.events' = '9000', 'nexmark.event-rate' = '1000');
CREATE TABLE auction (
  id BIGINT, seller BIGINT, category BIGINT, initialBid BIGINT, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'auction', 'nexmark.events' = '9000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (auction BIGINT, person BIGINT, initialBid BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT a.id, p.id, a.initialBid
FROM auction AS a JOIN person AS p
ON a.seller = p.id AND a.dateTime > p.dateTime + INTERVAL '1' SECOND AND a.initialBid > p.id * 10;
