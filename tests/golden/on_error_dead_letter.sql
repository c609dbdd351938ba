-- Malformed records are put aside with the reason.
-- bad 80
-- stateless
-- batch 8
-- process only
CREATE TABLE orders (id BIGINT, customer STRING, cents INT, placed TIMESTAMP(3))
WITH ('connector' = 'filesystem', 'path' = '${DATA}/malformed.csv', 'format' = 'csv', 'on-error' = 'dead-letter',
  'dead-letter.path' = '${OUT}/dead');
CREATE TABLE result (id BIGINT, customer STRING, cents INT, placed TIMESTAMP(3))
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result SELECT id, customer, cents, placed FROM orders;
