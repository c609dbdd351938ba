-- Functions of text and numbers.
-- stateless
-- process
-- oracle result: SELECT upper(channel), substring(url, 1, 20), character_length(url), abs(price - 5000000),
--   concat(channel, '/', CAST(auction AS VARCHAR)) FROM bid WHERE url LIKE '%item%' AND price BETWEEN 100 AND 9000000
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE result (channel STRING, head STRING, length INT, distance BIGINT, both STRING)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT UPPER(channel), SUBSTRING(url, 1, 20), CHAR_LENGTH(url), ABS(price - 5000000), channel || '/' || CAST(auction AS STRING)
FROM bid WHERE url LIKE '%item%' AND price BETWEEN 100 AND 9000000;
