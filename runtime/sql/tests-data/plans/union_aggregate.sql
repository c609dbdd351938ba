INSERT INTO q4
SELECT who, COUNT(*) FROM (
  SELECT id AS who, dateTime FROM person UNION ALL SELECT seller, dateTime FROM auction UNION ALL SELECT bidder, dateTime FROM bid
) GROUP BY who;
