INSERT INTO counts
SELECT L.auction, R.id, L.window_start
FROM (SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))) L
JOIN (SELECT id, window_start, window_end FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))) R
ON L.auction = R.id AND L.window_start = R.window_start AND L.window_end = R.window_end;
