INSERT INTO q2 SELECT who + 1, what FROM (
  SELECT id AS who, 1 AS what FROM person UNION ALL SELECT seller, category FROM auction
) WHERE who > 7;
