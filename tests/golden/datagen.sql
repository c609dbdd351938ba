-- Sequences and random numbers are functions of the row's number.
-- stateless
-- oracle result: SELECT n, kind, CASE WHEN ok THEN 'yes' ELSE 'no' END FROM made WHERE n % 3 = 0
CREATE TABLE made (n BIGINT, kind INT, ok BOOLEAN)
WITH ('connector' = 'datagen', 'rows-per-second' = '100000', 'fields.n.kind' = 'sequence', 'fields.n.start' = '1',
  'fields.n.end' = '600', 'fields.kind.min' = '0', 'fields.kind.max' = '9');
CREATE TABLE result (n BIGINT, kind INT, ok STRING)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv');
INSERT INTO result SELECT n, kind, CASE WHEN ok THEN 'yes' ELSE 'no' END FROM made WHERE MOD(n, 3) = 0;
