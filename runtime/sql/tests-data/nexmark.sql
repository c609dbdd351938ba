CREATE TABLE person (
  id BIGINT, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING,
  dateTime TIMESTAMP(3), extra STRING,
  WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'person');
CREATE TABLE auction (
  id BIGINT, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT, dateTime TIMESTAMP(3),
  expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra STRING,
  WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'auction');
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3), extra STRING,
  WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid');
CREATE TABLE q0 (auction BIGINT, bidder BIGINT, price BIGINT, dateTime TIMESTAMP(3), extra STRING)
  WITH ('connector' = 'blackhole');
CREATE TABLE q1 (auction BIGINT, bidder BIGINT, price DECIMAL(23, 3), dateTime TIMESTAMP(3), extra STRING)
  WITH ('connector' = 'blackhole');
CREATE TABLE q2 (auction BIGINT, price BIGINT) WITH ('connector' = 'blackhole');
CREATE TABLE q3 (name STRING, city STRING, state STRING, id BIGINT) WITH ('connector' = 'blackhole');
CREATE TABLE q4 (id BIGINT, final BIGINT) WITH ('connector' = 'blackhole');
CREATE TABLE q5 (auction BIGINT, num BIGINT) WITH ('connector' = 'blackhole');
CREATE TABLE q8 (id BIGINT, name STRING, stime TIMESTAMP(3)) WITH ('connector' = 'blackhole');
CREATE TABLE counts (a BIGINT, n BIGINT, t TIMESTAMP(3)) WITH ('connector' = 'print');
