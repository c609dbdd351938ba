-- A window join of two aggregates (Nexmark q8).
-- process
-- rate 100
-- oracle result: SELECT p.id, p.name, p.w FROM (SELECT DISTINCT id, name, date_bin(INTERVAL '1 second', dateTime) AS w FROM person) p
--   JOIN (SELECT DISTINCT seller, date_bin(INTERVAL '1 second', dateTime) AS w FROM auction) a ON p.id = a.seller AND p.w = a.w
CREATE TABLE person (
  id BIGINT, name STRING, city STRING, state STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'person', 'nexmark.events' = '9000', 'nexmark.event-rate' = '1000');
CREATE TABLE auction (
  id BIGINT, seller BIGINT, category BIGINT, initialBid BIGINT, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'auction', 'nexmark.events' = '9000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (id BIGINT, name STRING, starttime TIMESTAMP(3))
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT P.id, P.name, P.starttime
FROM (
  SELECT id, name, window_start AS starttime, window_end AS endtime
  FROM TABLE(TUMBLE(TABLE person, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))
  GROUP BY id, name, window_start, window_end
) AS P
JOIN (
  SELECT seller, window_start AS starttime, window_end AS endtime
  FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))
  GROUP BY seller, window_start, window_end
) AS A
ON P.id = A.seller AND P.starttime = A.starttime AND P.endtime = A.endtime;
