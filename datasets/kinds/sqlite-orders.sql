-- SPDX-License-Identifier: Apache-2.0
--
-- Adds the orders @FIRST@ to @FIRST@+@COUNT@-1 of seed @SEED@, each with one
-- to five lines, and a customer with every eighth. Each value follows from
-- the seed and the number of the row. The multiplications stay below 2^63,
-- as SQLite turns larger results into floating point.

CREATE TEMP TABLE draw AS
WITH RECURSIVE
	n(i) AS (VALUES(@FIRST@) UNION ALL
		SELECT i + 1 FROM n WHERE i < @FIRST@ + @COUNT@ - 1),
	a(i, r) AS (SELECT i,
		((i * 2654435761 + @SEED@ * 40503 + 12345) % 2147483647)
		FROM n),
	b(i, r, s) AS (SELECT i, r, (r * 1103515245 + 12345) % 2147483648
		FROM a),
	c(i, r, s, t) AS (SELECT i, r, s, (s / 7 * 1664525 + r) % 2147483648
		FROM b)
SELECT i, r / 64 AS r, s / 64 AS s, t / 64 AS t FROM c;

INSERT INTO customer
SELECT i,
	(SELECT text FROM word WHERE id = r % 900) || ' ' ||
	(SELECT text FROM word WHERE id = s % 900),
	(SELECT text FROM word WHERE id = s % 900) || (i % 1000) || '@' ||
	(SELECT text FROM word WHERE id = t % 90) || '.example',
	(SELECT text FROM word WHERE id = t % 300),
	1500000000 + r
FROM draw WHERE i % 8 = 1;

INSERT INTO orders
SELECT i, 1 + (s % (i + 7)) / 8 * 8, 1600000000 + i * 37 + r % 3600,
	CASE t % 10 WHEN 0 THEN 'open' WHEN 1 THEN 'returned'
		WHEN 2 THEN 'paid' ELSE 'sent' END,
	(r % 100000) / 100.0,
	printf('%06x%06x%06x', r % 16777216, s % 16777216, t % 16777216),
	CASE WHEN r % 3 = 0 THEN
		(SELECT text FROM word WHERE id = r / 3 % 900) || ' ' ||
		(SELECT text FROM word WHERE id = s / 5 % 900) || ' ' ||
		(SELECT text FROM word WHERE id = t / 7 % 900) || ' ' ||
		(SELECT text FROM word WHERE id = r / 11 % 900) || ' ' ||
		(SELECT text FROM word WHERE id = s / 13 % 900) END
FROM draw;

INSERT INTO line
SELECT i, k, (s / (k + 1) + t) % 20000, 1 + (r / (k + 3)) % 9,
	((t + 977 * k) % 50000) / 100.0,
	(SELECT text FROM word WHERE id = (r / (k + 1)) % 900) || ' ' ||
	(SELECT text FROM word WHERE id = (s / (k + 2)) % 900) || ' ' ||
	(SELECT text FROM word WHERE id = (t / (k + 3)) % 900)
FROM draw, (SELECT 1 AS k UNION SELECT 2 UNION SELECT 3 UNION SELECT 4
	UNION SELECT 5)
WHERE k <= 1 + t % 5;
