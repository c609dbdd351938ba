-- All rows of a window meet in one task.
-- oracle result: SELECT w, w + INTERVAL '250 milliseconds', count(*), max(price)
--   FROM (SELECT date_bin(INTERVAL '250 milliseconds', dateTime) AS w, price FROM bid) GROUP BY w
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (window_start TIMESTAMP(3), window_end TIMESTAMP(3), bids BIGINT, highest BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT window_start, window_end, COUNT(*), MAX(price)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0.25' SECOND))
GROUP BY window_start, window_end;
