-- SPDX-License-Identifier: Apache-2.0
--
-- The tables of the SQLite dataset, and the words its texts are made of. The
-- table note starts with enough rows that each further one takes one page.

PRAGMA page_size = 4096;
BEGIN;
CREATE TABLE word(id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT NOT NULL,
	mail TEXT NOT NULL, city TEXT NOT NULL, since INTEGER NOT NULL);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER NOT NULL,
	placed INTEGER NOT NULL, state TEXT NOT NULL, total REAL NOT NULL,
	token TEXT NOT NULL, comment TEXT);
CREATE TABLE line(orders INTEGER NOT NULL, number INTEGER NOT NULL,
	product INTEGER NOT NULL, count INTEGER NOT NULL, price REAL NOT NULL,
	title TEXT NOT NULL, PRIMARY KEY (orders, number)) WITHOUT ROWID;
CREATE INDEX customer_mail ON customer(mail);
CREATE INDEX orders_customer ON orders(customer, placed);
CREATE INDEX orders_token ON orders(token);
CREATE INDEX line_product ON line(product);
WITH RECURSIVE n(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM n WHERE i < 899)
INSERT INTO word SELECT i,
	substr('babecodifugahejokalomanupiqurasotevewixeyozu',
		1 + 2 * (i % 22), 2) ||
	substr('lenirostumvardelkinpasgontirmesfalbrucantdol',
		1 + 4 * (i / 22 % 11), 4) ||
	substr('a  o  is enerum', 1 + 3 * (i / 242 % 5), 3)
FROM n;
UPDATE word SET text = trim(text);
INSERT INTO note(text) VALUES (printf('%.*c', 4000, 'n')),
	(printf('%.*c', 4000, 'n'));
COMMIT;
