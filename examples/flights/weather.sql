-- Do wind and rain delay flights? Every day of 2013 at each of New York's airports: flights and their mean delay, beside
-- the strongest wind and the heaviest rain of an hour. Two windowed streams joined window by window.
-- Run it:  make flights && millstream run examples/flights/weather.sql
CREATE TABLE flights (
  dep_delay INT,         -- minutes, negative = early
  origin STRING,
  time_hour TIMESTAMP(3), -- scheduled hour of departure, UTC
  -- 334 days: see delays.sql.
  WATERMARK FOR time_hour AS time_hour - INTERVAL '334' DAY
) WITH (
  'connector' = 'filesystem',
  'path' = '${FLIGHTS_DIR:-examples/flights/data}/flights.csv',
  'format' = 'csv',
  'csv.header' = 'true',
  'csv.null-literal' = 'NA'
);

CREATE TABLE weather (
  origin STRING,
  wind_speed DOUBLE,
  precip DOUBLE,
  time_hour TIMESTAMP(3),
  -- The file has one airport after the other: the second begins 363 days and 17 hours before the end of the first.
  WATERMARK FOR time_hour AS time_hour - INTERVAL '364' DAY
) WITH (
  'connector' = 'filesystem',
  'path' = '${FLIGHTS_DIR:-examples/flights/data}/weather.csv',
  'format' = 'csv',
  'csv.header' = 'true',
  'csv.null-literal' = 'NA'
);

CREATE TABLE days (
  day_start TIMESTAMP(3),
  origin STRING,
  flights BIGINT,
  avg_delay DOUBLE,
  max_wind DOUBLE,
  max_rain DOUBLE
) WITH (
  'connector' = 'filesystem',
  'path' = '${RESULT_DIR:-out}/weather',
  'format' = 'csv',
  'csv.header' = 'true'
);

INSERT INTO days
SELECT f.window_start, f.origin, f.flights, f.avg_delay, w.max_wind, w.max_rain
FROM (
  SELECT window_start, window_end, origin, COUNT(*) AS flights, AVG(CAST(dep_delay AS DOUBLE)) AS avg_delay
  FROM TABLE(TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' DAY))
  GROUP BY window_start, window_end, origin
) AS f
JOIN (
  SELECT window_start, window_end, origin, MAX(wind_speed) AS max_wind, MAX(precip) AS max_rain
  FROM TABLE(TUMBLE(TABLE weather, DESCRIPTOR(time_hour), INTERVAL '1' DAY))
  GROUP BY window_start, window_end, origin
) AS w
ON f.origin = w.origin AND f.window_start = w.window_start AND f.window_end = w.window_end;
