-- A windowed aggregate joined to a table of names from a file: what both append, the join appends.
-- process
-- oracle result: SELECT w, c.label, n FROM (SELECT date_bin(INTERVAL '1 second', dateTime) AS w, channel, count(*) AS n
--   FROM bid GROUP BY w, channel) JOIN labels c ON c.name = channel
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE labels (name STRING, label STRING)
WITH ('connector' = 'filesystem', 'path' = '${DATA}/labels.csv', 'format' = 'csv', 'csv.header' = 'true');
CREATE TABLE result (window_start TIMESTAMP(3), label STRING, bids BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
CREATE VIEW counted AS
SELECT window_start, channel, COUNT(*) AS bids
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, channel;
INSERT INTO result SELECT c.window_start, l.label, c.bids FROM counted AS c JOIN labels AS l ON c.channel = l.name;
