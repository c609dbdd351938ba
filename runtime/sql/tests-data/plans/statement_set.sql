SET 'parallelism.default' = '2';
EXECUTE STATEMENT SET BEGIN
INSERT INTO q2 (price, auction) SELECT price, auction FROM bid;
INSERT INTO counts (a, t) SELECT bidder, window_start
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND)) GROUP BY bidder, window_start, window_end;
END;
