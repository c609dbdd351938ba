-- Columns made of others, event time among them.
-- batch 2
-- oracle result: SELECT date_bin(INTERVAL '1 minute', arrow_cast(placed, 'Timestamp(ms)')) AS w, customer,
--   sum(CAST(cents AS DOUBLE) / 100) FROM orders GROUP BY w, customer
CREATE TABLE orders (
  id BIGINT, customer STRING, cents INT, placed STRING,
  euros AS CAST(cents AS DOUBLE) / 100,
  ts AS CAST(placed AS TIMESTAMP(3)),
  WATERMARK FOR ts AS ts - INTERVAL '30' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/orders.csv', 'format' = 'csv', 'split-size' = '200', 'csv.header' = 'true');
CREATE TABLE result (window_start TIMESTAMP(3), customer STRING, euros DOUBLE)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result
SELECT window_start, customer, SUM(euros)
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, customer;
