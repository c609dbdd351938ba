-- How late do flights leave New York? Every flight of 2013 from its three airports (336 776 of them), counted per week,
-- airport and carrier, with the name of the airline.
-- Run it:  make flights && millstream run examples/flights/delays.sql
-- The files have header lines, so a table may declare just the columns it needs.
CREATE TABLE flights (
  dep_time INT,           -- as HHMM; NULL = cancelled
  dep_delay INT,          -- minutes, negative = early
  carrier STRING,
  origin STRING,
  time_hour TIMESTAMP(3), -- scheduled hour of departure, UTC
  -- The file goes through the months as 1, 10, 11, 12, 2, ... 9. February begins after the last of December, 333 days and
  -- 18 hours late: the most there is. With this bound no row is late, and windows close when the input has ended.
  WATERMARK FOR time_hour AS time_hour - INTERVAL '334' DAY
) WITH (
  'connector' = 'filesystem',
  'path' = '${FLIGHTS_DIR:-examples/flights/data}/flights.csv',
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

CREATE TABLE delays (
  week_start TIMESTAMP(3),
  origin STRING,
  airline STRING,
  flights BIGINT,
  cancelled BIGINT,
  avg_delay DOUBLE,
  max_delay INT
) WITH (
  'connector' = 'filesystem',
  'path' = '${RESULT_DIR:-out}/delays',
  'format' = 'csv',
  'csv.header' = 'true'
);

CREATE VIEW weekly AS
SELECT
  window_start,
  origin,
  carrier,
  COUNT(*) AS flights,
  COUNT(*) FILTER (WHERE dep_time IS NULL) AS cancelled,
  AVG(CAST(dep_delay AS DOUBLE)) AS avg_delay,
  MAX(dep_delay) AS max_delay
FROM TABLE(TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '7' DAY))
GROUP BY window_start, window_end, origin, carrier;

-- A regular join keeps both sides: 16 airlines, and one row per week, airport and carrier. Both only ever grow, so the
-- result does too, and a sink that cannot retract may take it.
INSERT INTO delays
SELECT w.window_start, w.origin, a.name, w.flights, w.cancelled, w.avg_delay, w.max_delay
FROM weekly AS w
JOIN airlines AS a ON w.carrier = a.carrier;
