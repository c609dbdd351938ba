-- A changing aggregate joined to a table: the join changes with it.
-- process only
-- keys 1
-- oracle result: SELECT l.label, count(DISTINCT b.bidder) FROM bid b JOIN labels l ON b.channel = l.name GROUP BY l.label
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE labels (name STRING, label STRING)
WITH ('connector' = 'filesystem', 'path' = '${DATA}/labels.csv', 'format' = 'csv', 'csv.header' = 'true');
CREATE TABLE result (label STRING, bidders BIGINT) WITH ('connector' = 'print');
INSERT INTO result
SELECT l.label, c.bidders
FROM (SELECT channel, COUNT(DISTINCT bidder) AS bidders FROM bid GROUP BY channel) AS c JOIN labels AS l ON c.channel = l.name;
