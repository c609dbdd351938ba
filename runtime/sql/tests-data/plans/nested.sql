CREATE VIEW per_second AS
SELECT auction, MAX(price) AS top, window_time AS rowtime
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))
GROUP BY auction, window_start, window_end, window_time;
INSERT INTO counts
SELECT auction, AVG(top), window_start
FROM TABLE(TUMBLE(TABLE per_second, DESCRIPTOR(rowtime), INTERVAL '1' MINUTE))
GROUP BY auction, window_start, window_end;
