-- order: ordered
SELECT CHAR_LENGTH(t), CHARACTER_LENGTH(t), UPPER(t), LOWER(t), t || k, REVERSE(t) FROM Mixed;
SELECT TRIM(BOTH 'x' FROM 'xxaxx'), TRIM(LEADING 'x' FROM 'xxaxx'), TRIM(TRAILING 'x' FROM 'xxaxx'), LTRIM('xa', 'x'), TRIM(BOTH FROM ' a ');
SELECT SUBSTRING('hello' FROM 2 FOR 3), SUBSTRING('hello', 10), SUBSTRING('hello', 2, 0), SUBSTR('hello', 2, 2), SUBSTRING('日本語', 2, 1), SUBSTRING('hello', -10, 3), LEFT('abc', 0), LEFT('abc', -1), RIGHT('abc', 9);
SELECT OVERLAY('This is an old string' PLACING ' new' FROM 10 FOR 5), POSITION('z' IN 'abc'), POSITION('' IN 'abc'), INSTR('banana', 'a'), LOCATE('a', 'banana'), LOCATE('a', 'banana', 3);
SELECT LPAD('hello', 2, 'x'), RPAD('hello', 2, 'x'), RPAD('日', 3, 'ab'), REPEAT('a', 0), REPEAT('a', -1);
SELECT SPLIT_INDEX('a,,c', ',', 1), SPLIT_INDEX('a,b', ',', -1), STR_TO_MAP('a=1,b=2'), STR_TO_MAP('a:1;b:2', ';', ':');
SELECT REGEXP_EXTRACT('abc123', '[0-9]+'), REGEXP_EXTRACT('abc', '[0-9]+'), REGEXP_EXTRACT('abc123', '([a-z]+)([0-9]+)', 1), REGEXP_REPLACE('a1b22', '[0-9]+', '#'), REGEXP_REPLACE('abc', '(a)(b)', '$2$1'), REGEXP('ABC', 'b'), 'abc' SIMILAR TO 'a(b|x)c', 'abc' NOT SIMILAR TO 'x%', 'abc' NOT LIKE 'a%';
SELECT MD5(''), SHA1('a'), SHA224('a'), SHA384('a'), SHA512('a'), SHA2('a', 256);
SELECT ASCII(''), ASCII('é'), CHR(8364), CHR(-1), DECODE(X'C3A9', 'UTF-8'), TO_BASE64('é'), FROM_BASE64('w6k='), HEX(255), HEX('ab'), BIN(5);
SELECT PARSE_URL('http://u:p@h.com:80/p/a?k=v&q=1#f', 'HOST'), PARSE_URL('http://h.com/p/a?k=v&q=1#f', 'QUERY', 'q'), PARSE_URL('http://h.com/p/a?k=v', 'PATH'), PARSE_URL('x', 'HOST');
SELECT CONCAT_WS(',', 'a', CAST(NULL AS STRING), 'b'), CONCAT('', t) FROM Mixed;
SELECT INITCAP('hELLO wORLD-foo bar1x'), IS_ALPHA('abc'), IS_DIGIT('12'), IS_DECIMAL('1.5'), IS_ALPHA('a1'), IS_DIGIT('');
SELECT JSON_VALUE('{"a":1,"b":{"c":"x"}}', '$.b.c'), JSON_VALUE('{"a":1}', '$.z'), JSON_QUERY('{"a":[1,2]}', '$.a'), JSON_EXISTS('{"a":1}', '$.a'), '{"a":1}' IS JSON, 'x' IS JSON;
SELECT 'a' < 'b', 'a' = 'a ', 'B' < 'a', 'é' > 'z', '' IS NULL, 'a' || CAST(NULL AS STRING) || 'b', GREATEST('a', 'b'), LEAST('b', CAST(NULL AS STRING));
SELECT k LIKE '%', k LIKE '_', k LIKE '', t LIKE '日%', k || '%' LIKE 'a\%' ESCAPE '\' FROM Mixed;
SELECT CAST('abc' AS CHAR(2)), CAST('a' AS CHAR(3)) || 'x', CAST(CAST('a' AS CHAR(3)) AS STRING) || 'x', CAST('abc' AS VARCHAR(2)) || 'x', CHAR_LENGTH(CAST('a' AS CHAR(3)));
SELECT ARRAY_CONTAINS(ARRAY[1, 2], 2), ARRAY_DISTINCT(ARRAY[1, 1, 2]), ARRAY_POSITION(ARRAY[1, 2], 2), ARRAY_REVERSE(ARRAY[1, 2]), ARRAY_SLICE(ARRAY[1, 2, 3], 2, 3), ARRAY_UNION(ARRAY[1], ARRAY[2]), ARRAY_JOIN(ARRAY['a', 'b'], '-'), ARRAY_MAX(ARRAY[1, 3, 2]), ARRAY_CONCAT(ARRAY[1], ARRAY[2]), MAP_KEYS(MAP['a', 1]), MAP_VALUES(MAP['a', 1]), ELEMENT(ARRAY[5]);
