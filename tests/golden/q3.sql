-- A regular join keeps both sides (Nexmark q3).
-- process
-- rate 100
-- oracle result: SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
--   WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')
CREATE TABLE person (
  id BIGINT, name STRING, city STRING, state STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'person', 'nexmark.events' = '9000', 'nexmark.event-rate' = '1000');
CREATE TABLE auction (
  id BIGINT, seller BIGINT, category BIGINT, initialBid BIGINT, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'auction', 'nexmark.events' = '9000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (name STRING, city STRING, state STRING, id BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT P.name, P.city, P.state, A.id
FROM auction AS A
INNER JOIN person AS P ON A.seller = P.id
WHERE A.category = 10 AND (P.state = 'OR' OR P.state = 'ID' OR P.state = 'CA');
