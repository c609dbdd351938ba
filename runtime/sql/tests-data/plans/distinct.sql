INSERT INTO q2 SELECT DISTINCT auction, bidder FROM bid WHERE price > 100;
