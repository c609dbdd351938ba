-- Which aircraft left more than eight hours late? Flights joined to the register of planes and to the airlines' names.
-- Run it:  make flights && millstream run examples/flights/planes.sql
CREATE TABLE flights (
  dep_delay INT,         -- minutes, negative = early
  carrier STRING,
  tailnum STRING,
  origin STRING,
  dest STRING,
  time_hour TIMESTAMP(3) -- scheduled hour of departure, UTC
) WITH (
  'connector' = 'filesystem',
  'path' = '${FLIGHTS_DIR:-examples/flights/data}/flights.csv',
  'format' = 'csv',
  'csv.header' = 'true',
  'csv.null-literal' = 'NA'
);

CREATE TABLE planes (
  tailnum STRING,
  manufacturer STRING,
  model STRING
) WITH (
  'connector' = 'filesystem',
  'path' = '${FLIGHTS_DIR:-examples/flights/data}/planes.csv',
  'format' = 'csv',
  'csv.header' = 'true',
  'csv.null-literal' = 'NA'
);

CREATE TABLE airlines (
  carrier STRING,
  name STRING
) WITH (
  'connector' = 'filesystem',
  'path' = '${FLIGHTS_DIR:-examples/flights/data}/airlines.csv',
  'format' = 'csv',
  'csv.header' = 'true'
);

CREATE TABLE latest (
  time_hour TIMESTAMP(3),
  origin STRING,
  dest STRING,
  airline STRING,
  tailnum STRING,
  manufacturer STRING,
  model STRING,
  dep_delay INT
) WITH (
  'connector' = 'filesystem',
  'path' = '${RESULT_DIR:-out}/planes',
  'format' = 'csv',
  'csv.header' = 'true'
);

INSERT INTO latest
SELECT f.time_hour, f.origin, f.dest, a.name, f.tailnum, p.manufacturer, p.model, f.dep_delay
FROM flights AS f
JOIN planes AS p ON f.tailnum = p.tailnum
JOIN airlines AS a ON f.carrier = a.carrier
WHERE f.dep_delay > 480;
