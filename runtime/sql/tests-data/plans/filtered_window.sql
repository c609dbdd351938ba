INSERT INTO counts
SELECT a, COUNT(*), s FROM (
  SELECT auction + 1 AS a, window_start AS s, window_end AS e, price
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' DAY))
) WHERE a > 5 AND EXTRACT(HOUR FROM s) = 0 GROUP BY a, s, e;
