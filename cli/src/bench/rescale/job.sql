-- What `bench rescale` runs: state of every key, an update for every record, and an exchange between the keyed stage and the
-- sink, whose one task sees all results.
CREATE TABLE records (
  k BIGINT,
  n BIGINT,
  payload BYTES
) WITH (
  'connector' = 'bench',
  'path' = '${FOLDER}',
  'bench.keys' = '${KEYS}',
  'bench.untimed' = '${UNTIMED}',
  'bench.value-bytes' = '${VALUE_BYTES}'
);

-- Has no rows: a union is a stage of its own.
CREATE TABLE nothing (
  k BIGINT,
  counted BIGINT,
  n BIGINT,
  bytes BIGINT
) WITH (
  'connector' = 'datagen',
  'number-of-rows' = '0'
);

CREATE TABLE arrivals (
  k BIGINT,
  counted BIGINT,
  n BIGINT,
  bytes BIGINT
) WITH (
  'connector' = 'bench',
  'path' = '${FOLDER}',
  'bench.keys' = '${KEYS}',
  'bench.untimed' = '${UNTIMED}',
  'bench.value-bytes' = '${VALUE_BYTES}'
);

INSERT INTO arrivals
SELECT k, COUNT(*), MAX(n), ${BYTES} FROM records GROUP BY k
UNION ALL
SELECT k, counted, n, bytes FROM nothing;
