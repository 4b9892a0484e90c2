-- order: sorted
SELECT j, j IS JSON, j IS JSON VALUE, j IS JSON OBJECT, j IS JSON ARRAY, j IS JSON SCALAR, j IS NOT JSON, j IS NOT JSON OBJECT FROM (VALUES ('{"a":1}'), ('[1]'), ('1'), ('"x"'), ('true'), ('null'), (''), ('x'), ('{"a":1} x'), ('{a:1}'), (' 1 '), (CAST(NULL AS STRING))) AS v(j);
SELECT k, ('{"k":"' || k || '"}') IS JSON OBJECT, k IS JSON, CAST(i AS STRING) IS JSON SCALAR FROM Types;
