INSERT INTO q0
SELECT CASE WHEN price > 10 THEN auction ELSE -auction END, ABS(bidder), CHAR_LENGTH(UPPER(channel)),
  to_timestamp_millis(CONCAT(CAST(2013 AS STRING), '-', LPAD(CAST(bidder AS STRING), 2, '0'), '-01T00:00:00')),
  COALESCE(SUBSTRING(url, 1, 3), TRIM(extra) || 'x')
FROM bid WHERE price BETWEEN 1 AND 5 OR channel LIKE 'a%' OR TRY_CAST(extra AS INT) IN (1, 2, 3, 4, 5);
