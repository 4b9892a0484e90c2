-- order: sorted
SELECT JSON_OBJECTAGG(k VALUE i) FROM (VALUES ('a', 1), ('b', 2), ('c', CAST(NULL AS INT))) AS t(k, i);
SELECT JSON_OBJECTAGG(KEY k VALUE i ABSENT ON NULL) FROM (VALUES ('a', 1), ('b', 2), ('c', CAST(NULL AS INT))) AS t(k, i);
SELECT JSON_ARRAYAGG(i) FROM (VALUES ('a', 1), ('b', 2), ('c', CAST(NULL AS INT))) AS t(k, i);
SELECT JSON_ARRAYAGG(i NULL ON NULL) FROM (VALUES ('a', 1), ('b', 2), ('c', CAST(NULL AS INT))) AS t(k, i);
SELECT g, JSON_ARRAYAGG(s) FROM (VALUES (1, 'a'), (2, 'b'), (1, 'c')) AS t(g, s) GROUP BY g;
SELECT g, JSON_OBJECTAGG(s VALUE x) FROM (VALUES (1, 'a', 1.5), (2, 'b', 2.5), (1, 'c', 3.5)) AS t(g, s, x) GROUP BY g;
