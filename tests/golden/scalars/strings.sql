-- order: ordered
SELECT CHAR_LENGTH('日本'), UPPER('abc'), LOWER('ABC'), TRIM('  x '), LTRIM('  x'), RTRIM('x  '), SUBSTRING('hello', 2, 3), SUBSTRING('hello', 0, 3), SUBSTRING('hello', -3, 2), SUBSTRING('hello' FROM 2), REPLACE('aba', 'a', 'x'), REVERSE('abc');
SELECT CONCAT('a', CAST(NULL AS STRING)), CONCAT('a', 'b', 'c'), CONCAT_WS('-', 'a', CAST(NULL AS STRING), 'b'), SPLIT_INDEX('a,b,c', ',', 1), SPLIT_INDEX('a,b,c', ',', 9), LPAD('x', 3, 'ab'), RPAD('x', 3, 'ab'), REPEAT('ab', 2), POSITION('b' IN 'abc'), INITCAP('hello world');
SELECT REGEXP_EXTRACT('foothebar', 'foo(.*?)(bar)', 2), REGEXP_REPLACE('foobar', 'oo|ar', ''), REGEXP('abc', 'b'), MD5('a'), SHA256('a'), TO_BASE64('hello'), FROM_BASE64('aGVsbG8='), ASCII('abc'), CHR(97), LEFT('abc', 2), RIGHT('abc', 2);
SELECT 'abc' LIKE 'A%', 'abc' LIKE 'a_c', 'a%c' LIKE 'a\%c', 'a%c' LIKE 'a!%c' ESCAPE '!', IF(TRUE, 1, 2), IFNULL(CAST(NULL AS INT), 5), GREATEST(1, 3, 2), LEAST(1, 3, 2);
