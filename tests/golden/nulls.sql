-- Nulls are a group of their own, and no value of an aggregate.
-- batch 2
-- process
-- oracle result: SELECT customer, count(*), count(cents), sum(cents), min(cents), max(placed),
--   count(*) FILTER (WHERE cents IS NULL) FROM orders GROUP BY customer
CREATE TABLE orders (
  id BIGINT, customer STRING, cents INT, placed TIMESTAMP(3),
  WATERMARK FOR placed AS placed - INTERVAL '30' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/orders_with_nulls.csv', 'format' = 'csv', 'split-size' = '200',
  'csv.null-literal' = 'NA');
CREATE TABLE result (customer STRING, orders BIGINT, priced BIGINT, cents BIGINT, least INT, latest TIMESTAMP(3), unpriced BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv', 'csv.null-literal' = 'NA');
INSERT INTO result
SELECT customer, COUNT(*), COUNT(cents), SUM(cents), MIN(cents), MAX(placed), COUNT(*) FILTER (WHERE cents IS NULL)
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '1' DAY))
GROUP BY window_start, window_end, customer;
