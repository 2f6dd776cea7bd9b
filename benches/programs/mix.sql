-- Inserts, indices, groups, joins, updates.
CREATE TABLE a(id INTEGER PRIMARY KEY, k INT, s TEXT, f REAL);
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 20000)
INSERT INTO a SELECT x, (x*7919)%1009, 'name'||((x*31)%977), x*0.25 FROM c;
CREATE INDEX ak ON a(k);
CREATE INDEX sk ON a(s);
SELECT count(*), sum(id), avg(f) FROM a WHERE k BETWEEN 100 AND 300;
SELECT s, count(*) n FROM a GROUP BY s ORDER BY n DESC, s LIMIT 3;
SELECT count(*) FROM a x JOIN a y ON x.k = y.k WHERE x.id < 4000;
SELECT count(*) FROM a WHERE s LIKE '%e1_5%';
UPDATE a SET f = f * 1.5 WHERE k % 7 = 3;
DELETE FROM a WHERE k % 11 = 5;
SELECT count(*), sum(length(s)), total(f) FROM a;
SELECT max(id), min(s), sum(abs(k-500)) FROM a WHERE id % 3 = 1;
