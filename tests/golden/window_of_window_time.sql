-- Small windows are gathered in larger ones by the event time of their rows.
-- oracle result: SELECT date_bin(INTERVAL '1 second', w) AS big, channel, sum(bids) FROM (
--   SELECT date_bin(INTERVAL '200 milliseconds', dateTime) AS w, channel, count(*) AS bids FROM bid
--   WHERE channel IN ('Apple', 'Google', 'Baidu') GROUP BY w, channel) GROUP BY big, channel
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (window_start TIMESTAMP(3), channel STRING, bids BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
CREATE VIEW small AS
SELECT window_time AS at, channel, COUNT(*) AS bids
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0.2' SECOND))
WHERE channel IN ('Apple', 'Google', 'Baidu')
GROUP BY window_start, window_end, window_time, channel;
INSERT INTO result
SELECT window_start, channel, SUM(bids)
FROM TABLE(TUMBLE(TABLE small, DESCRIPTOR(at), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, channel;
