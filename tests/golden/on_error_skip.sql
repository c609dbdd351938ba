-- Malformed records are passed over and counted.
-- batch 1
-- bad 80
-- stateless
-- process
CREATE TABLE orders (id BIGINT, customer STRING, cents INT, placed TIMESTAMP(3))
WITH ('connector' = 'filesystem', 'path' = '${DATA}/malformed.csv', 'format' = 'csv', 'on-error' = 'skip');
CREATE TABLE result (id BIGINT, customer STRING, cents INT, placed TIMESTAMP(3))
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result SELECT id, customer, cents, placed FROM orders;
