INSERT INTO counts
SELECT bidder, SUM(price) + COUNT(DISTINCT auction), window_time
FROM HOP(DATA => TABLE bid, TIMECOL => DESCRIPTOR(dateTime), SIZE => INTERVAL '1' HOUR, SLIDE => INTERVAL '5' MINUTES, OFFSET => INTERVAL '1' MINUTE)
WHERE price > 10
GROUP BY window_start, window_end, window_time, bidder;
