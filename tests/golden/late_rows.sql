-- Rows behind the watermark are dropped and counted. Each row is a batch, so that the watermark follows every one; and there is
-- one task a stage, since what is late among several depends on when the others begin and end.
-- batch 1
-- late 3
-- single
-- process
CREATE TABLE orders (
  id BIGINT, customer STRING, cents INT, placed TIMESTAMP(3),
  WATERMARK FOR placed AS placed - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/late.csv', 'format' = 'csv');
CREATE TABLE result (window_start TIMESTAMP(3), customer STRING, orders BIGINT, cents BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT window_start, customer, COUNT(*), SUM(cents)
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, customer;
