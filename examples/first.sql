-- A first job: five seconds of auction bids, counted per channel and second. It ends by itself.
-- Run it:  millstream run examples/first.sql
CREATE TABLE bid (
  price BIGINT,
  channel STRING,
  dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime
) WITH (
  'connector' = 'nexmark',
  'nexmark.table' = 'bid',
  'nexmark.events' = '500000'
);

CREATE TABLE per_channel (
  window_start TIMESTAMP(3),
  channel STRING,
  bids BIGINT,
  highest BIGINT
) WITH (
  'connector' = 'print'
);

INSERT INTO per_channel
SELECT window_start, channel, COUNT(*), MAX(price)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))
WHERE channel IN ('Apple', 'Baidu', 'Facebook', 'Google')
GROUP BY window_start, window_end, channel;
