-- Two flows share one table, read once.
-- process
-- oracle cheap: SELECT auction, price FROM bid WHERE price < 500
-- oracle counted: SELECT date_bin(INTERVAL '1 second', dateTime) AS w, channel, count(*) FROM bid
--   WHERE character_length(channel) > 6 GROUP BY w, channel
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE cheap (auction BIGINT, price BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/cheap', 'format' = 'csv');
CREATE TABLE counted (window_start TIMESTAMP(3), channel STRING, bids BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/counted', 'format' = 'json');
EXECUTE STATEMENT SET BEGIN
INSERT INTO cheap SELECT auction, price FROM bid WHERE price < 500;
INSERT INTO counted
SELECT window_start, channel, COUNT(*)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))
WHERE CHAR_LENGTH(channel) > 6
GROUP BY window_start, window_end, channel;
END;
