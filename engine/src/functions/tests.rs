//! Values and types that Flink 1.20.3 printed for the same expressions.

use super::testing::{check, check_types, over_columns};
use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Int64Array, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Decimal128Type, IntervalDayTime, TimestampMillisecondType};
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use std::sync::Arc;

#[test]
fn casts() {
    check(
        "TRY_CAST('1.9' AS INT) => 1
        TRY_CAST('abc' AS INT) => NULL
        CAST('abc' AS INT) => !! For input string: 'abc'. Invalid character found.
        CAST('300' AS TINYINT) => !! For input string: '300'. Overflow.
        CAST('abc' AS DOUBLE) => !! For input string: \"abc\"
        CAST('abc' AS BOOLEAN) => !! Cannot parse 'abc' as BOOLEAN.
        TRY_CAST('1.5e3' AS DOUBLE) => 1500.0
        TRY_CAST(' 1.25 ' AS DECIMAL(5,1)) => 1.3
        TRY_CAST('99999' AS DECIMAL(4,1)) => NULL
        TRY_CAST('yes' AS BOOLEAN) => TRUE
        TRY_CAST(' true ' AS BOOLEAN) => NULL
        CAST(1.5 AS BOOLEAN) => TRUE
        CAST(0e0 AS BOOLEAN) => FALSE
        CAST(TRUE AS DECIMAL(3,1)) => 1.0
        CAST(TRUE AS INT) => 1
        CAST(TRUE AS STRING) => TRUE
        CAST(1e20 AS INT) => 2147483647
        CAST(-1e20 AS BIGINT) => -9223372036854775808
        CAST(CAST('NaN' AS DOUBLE) AS INT) => 0
        CAST(300.7e0 AS TINYINT) => 44
        CAST(3e9 AS TINYINT) => -1
        CAST(3e9 AS SMALLINT) => -1
        CAST(12345678901 AS INT) => -539222987
        CAST(300 AS TINYINT) => 44
        CAST(300.5 AS TINYINT) => 44
        CAST(12345678901.5 AS INT) => -539222987
        CAST(1.25e0 AS DECIMAL(5,1)) => 1.3
        CAST(-1.25 AS DECIMAL(5,1)) => -1.3
        CAST(1.005e0 AS DECIMAL(5,2)) => 1.01
        CAST(12 AS DECIMAL(5,2)) => 12.00
        CAST(99999 AS DECIMAL(4,1)) => NULL
        CAST('x' AS CHAR(3)) || '|' => x  |
        CAST('abcdef' AS VARCHAR(3)) => abc
        CAST(12345 AS VARCHAR(3)) => 123
        CAST('hello' AS BINARY(3)) => x'68656c'
        CAST('he' AS BINARY(3)) => x'686500'
        CAST(X'68656c6c6f' AS VARBINARY(2)) => x'6865'
        CAST(X'6869' AS STRING) => hi
        CAST(1.50 AS STRING) => 1.50
        CAST(1e7 AS STRING) => 1.0E7
        CAST(DATE '2020-01-02' AS TIMESTAMP(3)) => 2020-01-02 00:00:00.000
        CAST(TIMESTAMP '2020-01-02 03:04:05' AS DATE) => 2020-01-02
        CAST(TIMESTAMP '2020-01-02 03:04:05' AS TIME) => 03:04:05
        CAST(TIME '01:02:03' AS TIMESTAMP(3)) => 1970-01-01 01:02:03.000
        CAST('2020-01-02 03:04:05.123456789' AS TIMESTAMP(9)) => 2020-01-02 03:04:05.123456789
        CAST('2020-01-02 03:04:05.129' AS TIMESTAMP(2)) => 2020-01-02 03:04:05.12
        CAST('2020-01-02 03:04:05.129' AS TIMESTAMP(0)) => 2020-01-02 03:04:05
        CAST('2020-01-02' AS TIMESTAMP(3)) => 2020-01-02 00:00:00.000
        TRY_CAST('2020-02-30 00:00:00' AS TIMESTAMP(3)) => 2020-02-29 00:00:00.000
        TRY_CAST('2020-02-30' AS DATE) => NULL
        CAST(ARRAY[1,2] AS ARRAY<STRING>) => [1, 2]
        CAST(ROW(1,'2') AS ROW<a BIGINT, b INT>) => (1, 2)
        CAST(MAP['1',2] AS MAP<INT,STRING>) => {1=2}
        CAST(ARRAY[1.5,2] AS STRING) => [1.5, 2.0]
        CAST(ROW(X'6869', TRUE, 1.50, 2e0, DATE '2020-01-02', TIMESTAMP '2020-01-02 03:04:05.600') AS STRING) => (hi, TRUE, 1.50, 2.0, 2020-01-02, 2020-01-02 03:04:05.600)
        CAST(DATE '2020-01-02' AS INT) => !! Cast function cannot convert value of type DATE to type INT.
        CAST(1 AS TIMESTAMP(3)) => !! The cast from NUMERIC type to TIMESTAMP type is not allowed.
        CAST(INTERVAL '-1 02:03:04.5' DAY TO SECOND AS STRING) => -1 02:03:04.500
        INTERVAL '1-2' YEAR TO MONTH => +1-02
        INTERVAL '13' MONTH => +1-01
        CAST(NULL AS INT) => NULL",
    );
}

#[test]
fn zones() {
    use super::testing::eval_in;
    let zone = chrono_tz::Tz::Asia__Shanghai;
    assert_eq!(
        eval_in("CAST(TIMESTAMP '2020-01-02 03:04:05' AS TIMESTAMP_LTZ(3))", zone),
        "2020-01-02 03:04:05.000"
    );
    assert_eq!(
        eval_in("CAST(CAST(TIMESTAMP '2020-01-02 03:04:05' AS TIMESTAMP_LTZ(3)) AS STRING)", zone),
        "2020-01-02 03:04:05.000"
    );
    assert_eq!(eval_in("NOW()", zone), "2020-01-02 11:04:05.678");
    assert_eq!(eval_in("LOCALTIMESTAMP", zone), "2020-01-02 11:04:05.678");
    assert_eq!(eval_in("CURRENT_TIME", zone), "11:04:05");
    assert_eq!(eval_in("CURRENT_DATE", zone), "2020-01-02");
}

#[test]
fn arithmetic() {
    check(
        "7/2 => 3
        -7/2 => -3
        -7%3 => -1
        MOD(-7,3) => -1
        1.5+2.25 => 3.75
        1.5*2.25 => 3.375
        10.5%3 => 1.5
        7.0/2 => 3.500000000000
        1/3.0 => 0.333333
        1.5e0/2 => 0.75
        7/2e0 => 3.5
        MOD(7.5,2) => 1.5
        2147483647+1 => -2147483648
        1.5 - 1 => 0.5
        -(1.5) => -1.5
        CAST(1.5 AS FLOAT)*2 => 3.0
        CAST(1 AS FLOAT)/CAST(3 AS FLOAT) => 0.33333334
        1/0 => !! Division by zero.
        MOD(5, 0) => !! Division by zero.
        5/0.0 => !! Division by zero.
        CAST('99999999999999999999999999999999999999' AS DECIMAL(38,0)) * CAST(7 AS DECIMAL(38,0)) => NULL
        CAST(-128 AS TINYINT) / CAST(-1 AS TINYINT) => -128
        1 + CAST(NULL AS INT) => NULL
        'a' || 1 => !! Argument 2 of || must be STRING or BYTES, but it is INT NOT NULL.
        'a' || CAST(NULL AS STRING) => NULL
        DATE '2020-01-31' + INTERVAL '1' MONTH => 2020-02-29
        TIMESTAMP '2020-01-31 01:02:03.5' + INTERVAL '1' MONTH => 2020-02-29 01:02:03.5
        DATE '2020-01-02' + INTERVAL '1' DAY => 2020-01-03
        DATE '2020-01-02' + INTERVAL '1' HOUR => 2020-01-02
        TIME '23:59:59' + INTERVAL '2' SECOND => 00:00:01
        TIME '00:00:00' - INTERVAL '1' SECOND => 23:59:59
        INTERVAL '1' DAY + INTERVAL '1' HOUR => +1 01:00:00.000
        INTERVAL '1' DAY * 2 => +2 00:00:00.000
        INTERVAL '1' MONTH + DATE '2020-01-31' => 2020-02-29
        DATE '2020-01-02' - INTERVAL '1' MONTH => 2019-12-02
        TIMESTAMP '2020-01-01 00:00:00.123' + INTERVAL '0.5' SECOND => 2020-01-01 00:00:00.623
        TIMESTAMP '2020-01-01 00:00:00' - INTERVAL '1' DAY => 2019-12-31 00:00:00",
    );
    check_types(
        "7/2 => INT NOT NULL
        7.0/2 => DECIMAL(13, 12) NOT NULL
        1/3.0 => DECIMAL(17, 6) NOT NULL
        1.5+2.25 => DECIMAL(4, 2) NOT NULL
        1.5*2.25 => DECIMAL(6, 3) NOT NULL
        10.5%3 => DECIMAL(3, 1) NOT NULL
        CAST(1 AS FLOAT)/3 => FLOAT NOT NULL
        CAST(1 AS TINYINT)+CAST(2 AS SMALLINT) => SMALLINT NOT NULL
        1.5+2e0 => DOUBLE NOT NULL
        CAST(1.5 AS FLOAT)+1.5 => DOUBLE NOT NULL
        MOD(CAST(7 AS INT), CAST(2 AS BIGINT)) => BIGINT NOT NULL
        CAST(7 AS BIGINT)%CAST(2 AS INT) => INT NOT NULL
        TIMESTAMP '2020-01-01 00:00:00.12' + INTERVAL '1' DAY => TIMESTAMP(2) NOT NULL
        CAST('a' AS VARCHAR(3)) || CAST('b' AS CHAR(1)) => VARCHAR(4) NOT NULL",
    );
}

#[test]
fn conditions() {
    check(
        "IF(1>2,'a','bcd') => bcd
        IF(CAST(NULL AS BOOLEAN),1,2) => 2
        IFNULL(CAST(NULL AS INT),5) => 5
        COALESCE(CAST(NULL AS INT),1,2) => 1
        NULLIF(1,1) => NULL
        NULLIF(1,2) => 1
        GREATEST(1,CAST(NULL AS INT),3) => NULL
        GREATEST(1,2,3) => 3
        LEAST('b','a') => a
        GREATEST(1, 2.5) => 2.5
        LEAST(1, 2e0) => 1.0
        IS_ALPHA('abc') => TRUE
        IS_ALPHA('a1') => FALSE
        IS_ALPHA('') => FALSE
        IS_ALPHA(CAST(NULL AS STRING)) => FALSE
        IS_DECIMAL('1.5') => TRUE
        IS_DECIMAL('-1') => TRUE
        IS_DECIMAL('1e5') => TRUE
        IS_DECIMAL('a') => FALSE
        IS_DECIMAL('') => FALSE
        IS_DIGIT('12') => TRUE
        IS_DIGIT('1.2') => FALSE
        TYPEOF(1.5) => DECIMAL(2, 1) NOT NULL
        TYPEOF('abc') => CHAR(3) NOT NULL
        TYPEOF(NULL) => NULL
        TYPEOF(ARRAY[1,2]) => ARRAY<INT NOT NULL> NOT NULL
        TYPEOF(TIMESTAMP '2020-01-01 00:00:00.12') => TIMESTAMP(2) NOT NULL
        TYPEOF(INTERVAL '1' DAY) => INTERVAL SECOND(3) NOT NULL
        TYPEOF(CURRENT_TIMESTAMP) => TIMESTAMP_LTZ(3) NOT NULL
        TYPEOF(TIME '01:02:03') => TIME(0) NOT NULL
        TYPEOF(1 = 1) => BOOLEAN NOT NULL
        TYPEOF(1e0) => DOUBLE NOT NULL",
    );
    check_types(
        "IF(1>2,1,2.5) => DECIMAL(11, 1) NOT NULL
        COALESCE(CAST(NULL AS INT),1.5) => DECIMAL(11, 1) NOT NULL
        GREATEST(1,2.5) => DECIMAL(11, 1) NOT NULL
        NULLIF(1,1) => INT",
    );
}

#[test]
fn numbers() {
    check(
        "CEIL(1.5) => 2
        FLOOR(-1.5) => -2
        CEIL(1.5e0) => 2.0
        FLOOR(CAST(1.5 AS FLOAT)) => 1.0
        CEIL(3) => 3
        CEIL(CAST(99.5 AS DECIMAL(3,1))) => 100
        ROUND(2.5) => 3
        ROUND(-2.5,0) => -3
        ROUND(12345.678,-2) => 12300
        ROUND(12345.678,2) => 12345.68
        ROUND(1.005e0,2) => 1.01
        ROUND(25,-1) => 30
        ROUND(-25, -1) => -30
        ROUND(CAST('NaN' AS DOUBLE)) => NaN
        ROUND(1e300, 2) => 1.0E300
        ROUND(1e-300, 2) => 0.0
        ROUND(CAST(2.5 AS FLOAT)) => 3.0
        ROUND(1.95, 5) => 1.95
        TRUNCATE(12345.678,1) => 12345.6
        TRUNCATE(12345.678,-2) => 12300
        TRUNCATE(-1.99e0,1) => -1.9
        TRUNCATE(42.345) => 42
        SIGN(-3.2) => -1.0
        SIGN(-3) => -1
        SIGN(2.5e0) => 1.0
        ABS(-5) => 5
        ABS(-1.5) => 1.5
        POWER(2,10) => 1024.0
        LOG(10) => 2.302585092994046
        LOG(2,8) => 3.0
        LOG2(8) => 3.0
        LOG10(1000) => 3.0
        EXP(1) => 2.718281828459045
        SQRT(2) => 1.4142135623730951
        SQRT(-1) => NaN
        COT(1) => 0.6420926159343306
        DEGREES(3.14) => 179.9087476710785
        RADIANS(180) => 3.141592653589793
        ATAN2(1,2) => 0.4636476090008061
        SINH(1) => 1.1752011936438014
        ACOS(0.5) => 1.0471975511965979
        LN(0) => -Infinity
        E() => 2.718281828459045
        PI() => 3.141592653589793
        BIN(4) => 100
        BIN(-1) => 1111111111111111111111111111111111111111111111111111111111111111
        HEX(20) => 14
        HEX('hello') => 68656C6C6F
        HEX(-1) => FFFFFFFFFFFFFFFF
        RAND(1) => 0.7308781907032909
        RAND_INTEGER(1, 100) => 85
        RAND_INTEGER(7, 1000) => 236
        CHAR_LENGTH(UUID()) => 36",
    );
    check_types(
        "CEIL(1.5) => DECIMAL(2, 0) NOT NULL
        ROUND(12345.678,2) => DECIMAL(8, 2) NOT NULL
        ROUND(12345.678,-2) => DECIMAL(6, 0) NOT NULL
        TRUNCATE(12345.678,1) => DECIMAL(7, 1) NOT NULL
        SIGN(-3.2) => DECIMAL(2, 1) NOT NULL
        POWER(2,10) => DOUBLE NOT NULL
        UUID() => CHAR(36) NOT NULL
        TRUNCATE(CAST(1.5 AS FLOAT),1) => FLOAT NOT NULL",
    );
}

#[test]
fn strings() {
    check(
        "CHAR_LENGTH('häß😀') => 4
        UPPER('straße') => STRASSE
        LOWER('ÀB') => àb
        INITCAP('hello wORLD-foo_bar 1ab') => Hello World-Foo_Bar 1ab
        INITCAP('o''neil 3rd x_y éa') => O'Neil 3rd X_Y éA
        REVERSE('ab😀') => 😀ba
        REPEAT('ab',3) => ababab
        REPEAT('ab',-1) =>
        REPEAT('abcdefgh', 2147483647) => !! REPEAT would make a string of 17179869176 bytes; the limit is 268435456.
        REPLACE('aXbX','X','yy') => ayybyy
        REPLACE('abc','','z') => zazbzcz
        LPAD('hi',4,'??') => ??hi
        LPAD('hi',1,'??') => h
        LPAD('hi',5,'') => NULL
        LPAD('hi',-1,'x') => NULL
        RPAD('hi',5,'ab') => hiaba
        ASCII('abc') => 97
        ASCII('') => 0
        ASCII('ä') => -61
        CHR(97) => a
        CHR(353) => a
        CHR(-1) =>
        CHR(228) => ä
        OVERLAY('xxxxxtest' PLACING 'xxxx' FROM 6) => xxxxxxxxx
        OVERLAY('xxxxxtest' PLACING 'xxxx' FROM 6 FOR 2) => xxxxxxxxxst
        OVERLAY('abc' PLACING 'Z' FROM 10) => abc
        OVERLAY('abc' PLACING 'Z' FROM 0) => abc
        OVERLAY('abc' PLACING 'ZZ' FROM 2 FOR 0) => aZZ
        OVERLAY('abc' PLACING 'Z' FROM 2 FOR 9) => aZ
        SUBSTRING('hello',0,3) => hel
        SUBSTRING('hello',-3,2) => ll
        SUBSTRING('hello',2) => ello
        SUBSTRING('hello',10) =>
        SUBSTRING('hello',2,0) =>
        SUBSTRING('hello',2,-1) => NULL
        SUBSTRING('hello',-10,3) =>
        SUBSTRING('hello' FROM 2 FOR 3) => ell
        SUBSTRING('hello', 1, 2147483647) => hello
        SUBSTR('hello',2,3) => ell
        LEFT('hello',2) => he
        LEFT('hello',-1) =>
        RIGHT('hello',2) => lo
        RIGHT('hello',99) => hello
        TRIM('  a b  ') => a b
        TRIM(BOTH 'x' FROM 'xxaxx') => a
        TRIM(LEADING 'xy' FROM 'xyxa') => a
        TRIM(TRAILING FROM 'a  ') => a
        LTRIM('  a') => a
        RTRIM('a  ') => a
        LTRIM('xya','yx') => a
        POSITION('l' IN 'hello') => 3
        POSITION('z' IN 'hello') => 0
        POSITION('' IN 'hello') => 1
        INSTR('hello','l') => 3
        LOCATE('l','hello') => 3
        LOCATE('l','hello',4) => 4
        LOCATE('l','hello',5) => 0
        LOCATE('l','hello',0) => 3
        INSTR('hello','l',4) => 4
        INSTR('hello','l',1,2) => 4
        INSTR('hello','l',-1) => 4
        INSTR('hello','l',-1,2) => 3
        INSTR('hello','l',1,3) => 0
        INSTR('hello','l',-3) => 3
        CONCAT('a','b','c') => abc
        CONCAT('a',CAST(NULL AS STRING)) => NULL
        CONCAT_WS('-','a',CAST(NULL AS STRING),'b') => a-b
        CONCAT_WS(CAST(NULL AS STRING),'a') => NULL
        CONCAT_WS(',', 'a', '', 'b') => a,,b
        SPLIT_INDEX('a,b,c',',',1) => b
        SPLIT_INDEX('a,b,c',',',3) => NULL
        SPLIT_INDEX('a,b,c',',',-1) => NULL
        SPLIT_INDEX('',',',0) => NULL
        SPLIT_INDEX('a,,c',',',1) =>
        SPLIT_INDEX('a--b','--',1) => b
        SPLIT_INDEX('a,b',44,1) => b
        SPLIT_INDEX('a,b,',',',2) =>
        SPLIT_INDEX('axybxyc','xy',2) => c
        SPLIT('a,b,,c', ',') => [a, b, , c]
        SPLIT('abc','') => [a, b, c]
        SPLIT('', ',') => []
        STR_TO_MAP('a=1,b=2') => {a=1, b=2}
        STR_TO_MAP('a:1;b:2',';',':') => {a=1, b=2}
        STR_TO_MAP('a') => {a=NULL}
        STR_TO_MAP('') => {}
        STR_TO_MAP('a=1=2,a=3') => {a=3}
        STR_TO_MAP('a|1.b|2', '\\.', '\\|') => {a=1, b=2}
        REGEXP('abc','b') => TRUE
        REGEXP('abc','') => FALSE
        REGEXP('a5','a\\d') => TRUE
        REGEXP('abc','(?=b)') => !! Look-around in the regular expression '(?=b)' is not supported yet.
        REGEXP_REPLACE('abcabc','b','X') => aXcaXc
        REGEXP_REPLACE('abc','(b)','[$1]') => a[$1]c
        REGEXP_REPLACE('abc','(','X') => NULL
        REGEXP_REPLACE('aaa','','-') => -a-a-a-
        REGEXP_EXTRACT('foothebar','foo(.*?)(bar)',2) => bar
        REGEXP_EXTRACT('foothebar','foo(.*?)(bar)') => foothebar
        REGEXP_EXTRACT('abc','z') => NULL
        REGEXP_EXTRACT('channel_id=123&x','(&|^)channel_id=([^&]*)',2) => 123
        REGEXP_EXTRACT('abc','b',-1) => NULL
        REGEXP_EXTRACT('abc','(b)',5) => NULL
        PARSE_URL('http://u:p@facebook.com:80/path1/p.php?k1=v1&k2=v2#Ref1','HOST') => facebook.com
        PARSE_URL('http://u:p@facebook.com:80/path1/p.php?k1=v1&k2=v2#Ref1','FILE') => /path1/p.php?k1=v1&k2=v2
        PARSE_URL('http://u:p@facebook.com:80/path1/p.php?k1=v1&k2=v2#Ref1','USERINFO') => u:p
        PARSE_URL('http://u:p@facebook.com:80/path1/p.php?k1=v1&k2=v2#Ref1','AUTHORITY') => u:p@facebook.com:80
        PARSE_URL('http://f.com/?k1=v1&k2=v2','QUERY','k2') => v2
        PARSE_URL('http://f.com/?k1=v1&k2=v2','QUERY','k3') => NULL
        PARSE_URL('bad','HOST') => NULL
        PARSE_URL('http://f.com','PATH') =>
        PARSE_URL('http://f.com','host') => NULL
        TO_BASE64('hello') => aGVsbG8=
        FROM_BASE64('aGVsbG8=') => hello
        ENCODE('hä','UTF-8') => x'68c3a4'
        ENCODE('hä','UTF-16') => x'feff006800e4'
        ENCODE('hä','US-ASCII') => x'683f'
        DECODE(X'e4','ISO-8859-1') => ä
        DECODE(ENCODE('hä','UTF-16'),'UTF-16') => hä
        MD5('abc') => 900150983cd24fb0d6963f7d28e17f72
        SHA1('abc') => a9993e364706816aba3e25717850c26c9cd0d89d
        SHA224('abc') => 23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7
        SHA2('abc',256) => ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
}

#[test]
fn patterns() {
    check(
        "'abc' LIKE 'A%' => FALSE
        'a%c' LIKE 'a\\%c' => FALSE
        'a\\bc' LIKE 'a\\%' => TRUE
        'a%c' LIKE 'a!%c' ESCAPE '!' => TRUE
        'abc' LIKE 'a_c' => TRUE
        'abc' LIKE '' => FALSE
        '' LIKE '%' => TRUE
        'abc' NOT LIKE 'a%' => FALSE
        'xaby' LIKE '%ab%' => TRUE
        'ab' SIMILAR TO '(a|b)*' => TRUE
        'abc' SIMILAR TO 'a%' => TRUE
        'abc' SIMILAR TO 'b' => FALSE
        'abc' SIMILAR TO '[a-c]+' => TRUE
        'abc' SIMILAR TO 'a_c' => TRUE
        'a%' SIMILAR TO 'a!%' ESCAPE '!' => TRUE
        'abc' SIMILAR TO '[[:ALPHA:]]*' => TRUE
        CAST(NULL AS STRING) LIKE 'a' => NULL",
    );
}

#[test]
fn collections() {
    check(
        "ARRAY[1,2,3][2] => 2
        ARRAY['a','b'][5] => NULL
        ARRAY[1,2][1+4] => NULL
        MAP['a',1]['a'] => 1
        MAP['a','x']['b'] => NULL
        CARDINALITY(ARRAY[1,2]) => 2
        CARDINALITY(MAP['a',1]) => 1
        CARDINALITY(CAST(NULL AS ARRAY<INT>)) => NULL
        ELEMENT(ARRAY[5]) => 5
        ELEMENT(ARRAY[1,2]) => !! ELEMENT: the array has more than one element.
        ARRAY['a','b'][0] => !! Array element access needs an index starting at 1 but was 0.
        ARRAY['a', CAST(NULL AS STRING)] => [a, NULL]
        MAP['a', X'00'] => {a=x'00'}
        ROW(X'6869', TRUE, 1.50, CAST(NULL AS INT)) => (x'6869', TRUE, 1.50, NULL)
        ARRAY[1, 2.5] => [1.0, 2.5]
        ARRAY_APPEND(ARRAY[1,2],3) => [1, 2, 3]
        ARRAY_APPEND(ARRAY[1],CAST(NULL AS INT)) => [1, NULL]
        ARRAY_PREPEND(ARRAY[1,2],3) => [3, 1, 2]
        ARRAY_CONCAT(ARRAY[1],ARRAY[2,3]) => [1, 2, 3]
        ARRAY_CONCAT(ARRAY[1],CAST(NULL AS ARRAY<INT>)) => NULL
        ARRAY_CONTAINS(ARRAY[1,2],2) => TRUE
        ARRAY_CONTAINS(ARRAY[1], CAST(NULL AS INT)) => FALSE
        ARRAY_CONTAINS(ARRAY[1,CAST(NULL AS INT)],CAST(NULL AS INT)) => TRUE
        ARRAY_DISTINCT(ARRAY[1,2,1,CAST(NULL AS INT),CAST(NULL AS INT)]) => [1, 2, NULL]
        ARRAY_DISTINCT(ARRAY['b','a','b']) => [b, a]
        ARRAY_MAX(ARRAY[1,3,CAST(NULL AS INT)]) => 3
        ARRAY_MIN(ARRAY[1,3]) => 1
        ARRAY_MAX(ARRAY[CAST(NULL AS INT)]) => NULL
        ARRAY_POSITION(ARRAY[1,2,2],2) => 2
        ARRAY_POSITION(ARRAY[1],5) => 0
        ARRAY_POSITION(ARRAY[1],CAST(NULL AS INT)) => NULL
        ARRAY_REMOVE(ARRAY[1,2,1],1) => [2]
        ARRAY_REVERSE(ARRAY[1,2,3]) => [3, 2, 1]
        ARRAY_UNION(ARRAY[1,2],ARRAY[2,3]) => [1, 2, 3]
        ARRAY_UNION(ARRAY[1,1],ARRAY[3,2,3]) => [1, 3, 2]
        ARRAY_SORT(ARRAY[3,1,CAST(NULL AS INT)]) => [NULL, 1, 3]
        ARRAY_SORT(ARRAY[3,1,CAST(NULL AS INT)],FALSE) => [3, 1, NULL]
        ARRAY_SORT(ARRAY[3,1,CAST(NULL AS INT)],TRUE,FALSE) => [1, 3, NULL]
        ARRAY_JOIN(ARRAY['a','b'],'-') => a-b
        ARRAY_JOIN(ARRAY['a',CAST(NULL AS STRING),'b'],'-') => a-b
        ARRAY_JOIN(ARRAY['a',CAST(NULL AS STRING),'b'],'-','N') => a-N-b
        ARRAY_SLICE(ARRAY[1,2,3,4],-2) => [3, 4]
        ARRAY_SLICE(ARRAY[1,2,3,4],2,3) => [2, 3]
        ARRAY_SLICE(ARRAY[1,2,3,4],0,1) => [1]
        ARRAY_SLICE(ARRAY[1,2,3,4],3,2) => []
        ARRAY_SLICE(ARRAY[1,2,3,4],9) => []
        ARRAY_SLICE(ARRAY[1,2,3,4],-9,2) => [1, 2]
        ARRAY_SLICE(ARRAY[1,2,3,4], 2, -1) => [2, 3, 4]
        ARRAY_SLICE(ARRAY[1,2,3],1,9) => [1, 2, 3]
        ARRAY_EXCEPT(ARRAY[1,1,2],ARRAY[2]) => [1]
        ARRAY_INTERSECT(ARRAY[1,1,2],ARRAY[1]) => [1]
        MAP_KEYS(MAP['a',1,'b',2]) => [a, b]
        MAP_VALUES(MAP['a',1,'b',2]) => [1, 2]
        MAP_ENTRIES(MAP['a',1]) => [(a, 1)]
        MAP_FROM_ARRAYS(ARRAY['k'],ARRAY[1]) => {k=1}
        MAP_UNION(MAP['a',1],MAP['a',2,'c',3]) => {a=2, c=3}
        MAP['a',1,'a',2] => {a=2}",
    );
    check_types(
        "MAP['a',1]['a'] => INT
        ROW(1,'a') => ROW<`EXPR$0` INT NOT NULL, `EXPR$1` STRING NOT NULL> NOT NULL
        ARRAY[1,2.5] => ARRAY<DECIMAL(11, 1) NOT NULL> NOT NULL
        ARRAY_POSITION(ARRAY[1],1) => INT NOT NULL",
    );
}

#[test]
fn times() {
    check(
        "EXTRACT(YEAR FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 2024
        EXTRACT(QUARTER FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 1
        EXTRACT(MONTH FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 1
        EXTRACT(WEEK FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 1
        EXTRACT(DAY FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 7
        EXTRACT(DOY FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 7
        EXTRACT(DOW FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 1
        EXTRACT(ISODOW FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 7
        EXTRACT(ISOYEAR FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 2024
        EXTRACT(HOUR FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 13
        EXTRACT(MINUTE FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 14
        EXTRACT(SECOND FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 15
        EXTRACT(MILLISECOND FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 678
        EXTRACT(MICROSECOND FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 678912
        EXTRACT(NANOSECOND FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 678912000
        EXTRACT(EPOCH FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 1704633255
        EXTRACT(DECADE FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 202
        EXTRACT(CENTURY FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 21
        EXTRACT(MILLENNIUM FROM TIMESTAMP '2024-01-07 13:14:15.678912') => 3
        EXTRACT(HOUR FROM TIME '13:14:15') => 13
        EXTRACT(DAY FROM INTERVAL '3 04:05:06' DAY TO SECOND) => 3
        EXTRACT(HOUR FROM INTERVAL '3 04:05:06' DAY TO SECOND) => 4
        EXTRACT(MONTH FROM INTERVAL '1-2' YEAR TO MONTH) => 2
        EXTRACT(CENTURY FROM DATE '2000-01-01') => 20
        EXTRACT(EPOCH FROM DATE '2024-01-01') => 1704067200
        DAYOFWEEK(DATE '2024-01-07') => 1
        WEEK(DATE '2024-12-30') => 1
        FLOOR(TIMESTAMP '2024-05-08 13:14:15.678' TO YEAR) => 2024-01-01 00:00:00.000
        CEIL(TIMESTAMP '2024-05-08 13:14:15.678' TO YEAR) => 2025-01-01 00:00:00.000
        FLOOR(TIMESTAMP '2024-05-08 13:14:15.678' TO QUARTER) => 2024-04-01 00:00:00.000
        CEIL(TIMESTAMP '2024-05-08 13:14:15.678' TO QUARTER) => 2024-07-01 00:00:00.000
        FLOOR(TIMESTAMP '2024-05-08 13:14:15.678' TO MONTH) => 2024-05-01 00:00:00.000
        CEIL(TIMESTAMP '2024-05-08 13:14:15.678' TO MONTH) => 2024-06-01 00:00:00.000
        FLOOR(TIMESTAMP '2024-05-08 13:14:15.678' TO WEEK) => 2024-05-05 00:00:00.000
        CEIL(TIMESTAMP '2024-05-08 13:14:15.678' TO WEEK) => 2024-05-12 00:00:00.000
        FLOOR(TIMESTAMP '2024-05-08 13:14:15.678' TO DAY) => 2024-05-08 00:00:00.000
        CEIL(TIMESTAMP '2024-05-08 13:14:15.678' TO DAY) => 2024-05-09 00:00:00.000
        FLOOR(TIMESTAMP '2024-05-08 13:14:15.678' TO HOUR) => 2024-05-08 13:00:00.000
        CEIL(TIMESTAMP '2024-05-08 13:14:15.678' TO HOUR) => 2024-05-08 14:00:00.000
        FLOOR(TIMESTAMP '2024-05-08 13:14:15.678' TO SECOND) => 2024-05-08 13:14:15.000
        CEIL(TIMESTAMP '2024-05-08 13:14:15.678' TO SECOND) => 2024-05-08 13:14:16.000
        FLOOR(TIMESTAMP '2024-05-08 13:14:15.678' TO MILLISECOND) => 2024-05-08 13:14:15.678
        CEIL(TIMESTAMP '2024-05-08 13:14:15.678' TO MILLISECOND) => 2024-05-08 13:14:15.678
        FLOOR(TIMESTAMP '2024-05-08 13:14:15.678' TO DECADE) => 2020-01-01 00:00:00.000
        CEIL(TIMESTAMP '2024-05-08 13:14:15.678' TO DECADE) => 2030-01-01 00:00:00.000
        FLOOR(DATE '2024-05-08' TO WEEK) => 2024-05-05
        CEIL(TIME '13:14:15' TO MINUTE) => 13:15:00
        TIMESTAMPADD(HOUR, 1, DATE '2020-01-02') => 2020-01-02 01:00:00.000000
        TIMESTAMPADD(MONTH, 1, TIMESTAMP '2020-01-31 01:02:03.5') => 2020-02-29 01:02:03.5
        TIMESTAMPADD(WEEK, 1, DATE '2020-01-02') => 2020-01-09
        TIMESTAMPADD(QUARTER, -1, DATE '2020-05-31') => 2020-02-29
        TIMESTAMPADD(SECOND, -1, TIMESTAMP '2020-01-01 00:00:00') => 2019-12-31 23:59:59
        TIMESTAMPADD(MINUTE, 1, TIME '23:59:59') => 00:00:59
        TIMESTAMPDIFF(MONTH, TIMESTAMP '2020-01-31 00:00:00', TIMESTAMP '2020-02-29 00:00:00') => 1
        TIMESTAMPDIFF(MONTH, DATE '2020-01-15', DATE '2020-02-14') => 0
        TIMESTAMPDIFF(YEAR, DATE '2020-02-29', DATE '2021-02-28') => 1
        TIMESTAMPDIFF(QUARTER, DATE '2020-01-01', DATE '2020-12-31') => 3
        TIMESTAMPDIFF(WEEK, DATE '2020-01-01', DATE '2020-01-31') => 4
        TIMESTAMPDIFF(SECOND, TIMESTAMP '2020-01-01 00:00:00.9', TIMESTAMP '2020-01-01 00:00:02.1') => 1
        TIMESTAMPDIFF(MONTH, TIMESTAMP '2020-03-31 00:00:00', TIMESTAMP '2020-02-29 00:00:00') => -1
        TIMESTAMPDIFF(MONTH, DATE '2020-02-29', DATE '2020-03-31') => 1
        TIMESTAMPDIFF(MONTH, TIMESTAMP '2020-02-29 10:00:00', TIMESTAMP '2020-01-31 12:00:00') => -1
        TIMESTAMPDIFF(DAY, DATE '2020-01-01', TIMESTAMP '2020-01-02 23:00:00') => 1
        DATE_FORMAT(TIMESTAMP '2024-01-07 03:04:05.678', 'yyyy-MM-dd HH:mm:ss.SSS') => 2024-01-07 03:04:05.678
        DATE_FORMAT(TIMESTAMP '2024-01-07 13:04:05.678', 'yy/M/d h:m:s a') => 24/1/7 1:4:5 PM
        DATE_FORMAT('2024-01-07 03:04:05', 'yyyyMMdd') => 20240107
        DATE_FORMAT(TIMESTAMP '2024-01-07 03:04:05', 'EEE EEEE MMM MMMM D') => Sun Sunday Jan January 7
        DATE_FORMAT(TIMESTAMP '2024-01-07 03:04:05', '''T''HH''o''''clock''') => T03o'clock
        DATE_FORMAT(TIMESTAMP '2024-01-07 03:04:05.678', 'S SS SSSSSS n A') => 6 67 678000 678000000 11045678
        DATE_FORMAT(TIMESTAMP '2024-01-07 03:04:05', 'e c w W Q q k K u uuuu') => 1 1 2 2 1 1 3 3 2024 2024
        DATE_FORMAT(TIMESTAMP '2024-01-07 03:04:05', 'DDD F E L') => 007 7 Sun 1
        DATE_FORMAT(TIMESTAMP '2024-01-07 03:04:05', 'QQQ QQQQ qqq') => Q1 1st quarter Q1
        DATE_FORMAT(TIMESTAMP '2024-12-30 23:04:05', 'YYYY-ww e') => 2025-01 2
        DATE_FORMAT('bad', 'yyyy') => NULL
        DATE_FORMAT(TIMESTAMP '2024-01-07 03:04:05', 'yyyy b') => !! Unknown pattern letter: b
        TO_TIMESTAMP('2024-01-07 03:04:05.123456') => 2024-01-07 03:04:05.123
        TO_TIMESTAMP('2024-01-07') => 2024-01-07 00:00:00.000
        TO_TIMESTAMP('bad') => NULL
        TO_TIMESTAMP('07/01/2024 3:4', 'dd/MM/yyyy H:m') => 2024-01-07 03:04:00.000
        TO_TIMESTAMP('2024-01-07T03:04:05Z', 'yyyy-MM-dd''T''HH:mm:ss''Z''') => 2024-01-07 03:04:05.000
        TO_TIMESTAMP('20240107030405678', 'yyyyMMddHHmmssSSS') => 2024-01-07 03:04:05.678
        TO_TIMESTAMP('2024', 'yyyy') => 2024-01-01 00:00:00.000
        TO_TIMESTAMP('2024-02-30', 'yyyy-MM-dd') => 2024-02-29 00:00:00.000
        TO_TIMESTAMP('2024-01-07 03:04:05.123456789', 'yyyy-MM-dd HH:mm:ss.SSSSSSSSS') => 2024-01-07 03:04:05.123
        TO_TIMESTAMP('2024-1-7 3:4:5', 'yyyy-MM-dd HH:mm:ss') => 2024-01-07 03:04:05.000
        TO_TIMESTAMP('2024-01-07 03:04:05 PM', 'yyyy-MM-dd hh:mm:ss a') => 2024-01-07 15:04:05.000
        TO_TIMESTAMP('2024-01-07T03:04:05') => NULL
        TO_TIMESTAMP_LTZ(1234567890, 0) => 2009-02-13 23:31:30.000
        TO_TIMESTAMP_LTZ(1234567890123, 3) => 2009-02-13 23:31:30.123
        TO_TIMESTAMP_LTZ(-1, 3) => 1969-12-31 23:59:59.999
        TO_TIMESTAMP_LTZ(1.5, 0) => 1970-01-01 00:00:01.000
        TO_TIMESTAMP_LTZ(9223372036854775807, 3) => NULL
        TO_DATE('2024-01-07') => 2024-01-07
        TO_DATE('07.01.2024','dd.MM.yyyy') => 2024-01-07
        TO_DATE('bad') => NULL
        TO_DATE('2024-02-30') => NULL
        TO_DATE('2024-1-7','yyyy-MM-dd') => 2024-01-07
        TO_DATE('2024-02-30','yyyy-MM-dd') => 2024-03-01
        FROM_UNIXTIME(44) => 1970-01-01 00:00:44
        FROM_UNIXTIME(44, 'yyyy/MM/dd') => 1970/01/01
        FROM_UNIXTIME(-1) => 1969-12-31 23:59:59
        UNIX_TIMESTAMP('2020-01-01 00:00:00') => 1577836800
        UNIX_TIMESTAMP('bad') => -9223372036854775808
        UNIX_TIMESTAMP('2020/01/01','yyyy/MM/dd') => 1577836800
        UNIX_TIMESTAMP('2020-01-01') => -9223372036854775808
        UNIX_TIMESTAMP('2020-01-01 00:00:00.9') => 1577836800
        CONVERT_TZ('1970-01-01 00:00:00','UTC','America/Los_Angeles') => 1969-12-31 16:00:00
        CONVERT_TZ('bad','UTC','America/Los_Angeles') => NULL
        CONVERT_TZ('1970-01-01 00:00:00','UTC','Nowhere/Bad') => 1970-01-01 00:00:00
        CONVERT_TZ('1970-01-01 00:00:00','GMT+8','PST') => 1969-12-31 08:00:00",
    );
    check_types(
        "TIMESTAMPADD(HOUR, 1, TIMESTAMP '2020-01-02 00:00:00.12') => TIMESTAMP(2) NOT NULL
        FLOOR(TIMESTAMP '2020-01-02 00:00:00.12' TO HOUR) => TIMESTAMP(2) NOT NULL
        TO_TIMESTAMP('x') => TIMESTAMP(3)
        TO_TIMESTAMP_LTZ(1,3) => TIMESTAMP_LTZ(3)
        TO_DATE('x') => DATE
        FROM_UNIXTIME(1) => STRING
        UNIX_TIMESTAMP('x') => BIGINT NOT NULL
        DATE_FORMAT(TIMESTAMP '2020-01-02 00:00:00', 'yyyy') => STRING
        TIMESTAMPDIFF(DAY, DATE '2020-01-01', DATE '2020-01-02') => INT NOT NULL
        EXTRACT(YEAR FROM DATE '2020-01-01') => BIGINT NOT NULL",
    );
}

#[test]
fn json() {
    check(
        r#"JSON_VALUE('{"a":1}','$.a') => 1
        JSON_VALUE('{"a":{"b":"x"}}','$.a.b') => x
        JSON_VALUE('{"a":[1,2]}','$.a[1]') => 2
        JSON_VALUE('{"a":true}','$.a') => true
        JSON_VALUE('{"a":null}','$.a') => NULL
        JSON_VALUE('{"a":{}}','$.a') => NULL
        JSON_VALUE('bad','$.a') => NULL
        JSON_VALUE('{"a":1.50}','$.a') => 1.5
        JSON_VALUE('{"a":1}','$.b' DEFAULT 'z' ON EMPTY) => NULL
        JSON_VALUE('{"a":1}','lax $.a') => 1
        JSON_VALUE('{"a":[{"b":1},{"b":2}]}','$.a[*].b') => NULL
        JSON_VALUE('{"a b":1}','$.["a b"]') => 1
        JSON_VALUE('{"a b":1}','$[''a b'']') => 1
        JSON_VALUE('{"a":1}','$.a' RETURNING INT) => 1
        JSON_VALUE('{"a":1.5}','$.a' RETURNING DOUBLE) => 1.5
        JSON_VALUE('{"a":true}','$.a' RETURNING BOOLEAN) => TRUE
        JSON_VALUE('{"a":{}}','strict $.b' NULL ON ERROR) => NULL
        JSON_QUERY('{"a":{"b": 1}}','$.a') => {"b":1}
        JSON_QUERY('{"a":1}','$.a') => NULL
        JSON_QUERY('{"a":1}','$.a' WITH WRAPPER) => [1]
        JSON_QUERY('{"a":[1, 2]}','$.a') => [1,2]
        JSON_QUERY('{"a":[1,2]}','$.a' WITH WRAPPER) => [[1,2]]
        JSON_QUERY('{"a":[1,2]}','$.a' WITH CONDITIONAL WRAPPER) => [1,2]
        JSON_QUERY('{"a":[{"b":1},{"b":2}]}','$.a[*].b') => [1,2]
        JSON_QUERY('bad','$.a') => NULL
        JSON_EXISTS('{"a":1}','$.a') => TRUE
        JSON_EXISTS('{"a":1}','$.b') => FALSE
        JSON_EXISTS('bad','$.b') => FALSE
        JSON_EXISTS('{"a":null}','$.a') => FALSE
        '[1]' IS JSON => TRUE
        '[1]' IS JSON ARRAY => TRUE
        '1' IS JSON SCALAR => TRUE
        '{}' IS JSON OBJECT => TRUE
        'x' IS JSON => FALSE
        'x' IS NOT JSON => TRUE
        '{"a":1' IS JSON => FALSE"#,
    );
}

/// The list in the documentation is the registry.
#[test]
fn the_documented_functions_are_those_there_are() {
    use std::sync::Arc;
    let r = super::FunctionRegistry::new(Arc::new(crate::time::MockClock::at(0)), chrono_tz::Tz::UTC);
    let mut listed = 0;
    for line in include_str!("../../../docs/functions.md").lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, state, ..] = cells[..] else { continue };
        // The parser writes these two out as LISTAGG.
        let there = ["JSON_ARRAYAGG", "JSON_OBJECTAGG"].contains(&name)
            || r.scalar(name).is_some()
            || r.aggregate(name).is_some()
            || r.window(name).is_some();
        match state {
            "same" | "differs" => assert!(there, "{name} is documented, but not there"),
            "missing" => assert!(!there, "{name} is there, but documented as missing"),
            _ => continue,
        }
        listed += 1;
    }
    assert!(listed > 150, "only {listed} functions are documented");
}

#[test]
fn strange_inputs_are_values_or_errors() {
    for sql in [
        "ABS(CAST(-9223372036854775808 AS BIGINT))",
        "MOD(CAST(-9223372036854775808 AS BIGINT), CAST(-1 AS BIGINT))",
        "SUBSTRING('abc', -2147483648, 2147483647)",
        "SUBSTRING('abc', 2147483647)",
        "LPAD('a', 2147483647, 'b')",
        "REPEAT('', 2147483647)",
        "LEFT('abc', 2147483647)",
        "CHR(CAST(9223372036854775807 AS BIGINT))",
        "FROM_UNIXTIME(9223372036854775807)",
        "FROM_UNIXTIME(-9223372036854775808)",
        "TIMESTAMPADD(YEAR, 2147483647, TIMESTAMP '2020-01-01 00:00:00')",
        "TIMESTAMPADD(SECOND, 9223372036854775807, TIMESTAMP '2020-01-01 00:00:00.123456789')",
        "DATE '2020-01-01' + INTERVAL '99' YEAR",
        "CAST('9999-12-31 23:59:59' AS TIMESTAMP(9))",
        "ROUND(CAST('Infinity' AS DOUBLE), 2)",
        "ROUND(1.5e0, 2147483647)",
        "ROUND(1.5e0, -2147483648)",
        "ROUND(1.7976931348623157e308, 1)",
        "TRUNCATE(CAST('99999999999999999999999999999999999999' AS DECIMAL(38,0)), -40)",
        "CAST(CAST('NaN' AS DOUBLE) AS DECIMAL(10,2))",
        "CAST(1e308 AS DECIMAL(38,18))",
        "ARRAY_SLICE(ARRAY[1,2], -2147483648, 2147483647)",
        "ARRAY_REVERSE(ARRAY_REMOVE(ARRAY[1], 1))",
        "ARRAY[1][9223372036854775807]",
        "SPLIT_INDEX('a', ',', 2147483647)",
        "INSTR('abc', 'b', 2147483647)",
        "INSTR('abc', 'b', -2147483648)",
        "OVERLAY('abc' PLACING 'x' FROM 1 FOR -5)",
        "DATE_FORMAT(TIMESTAMP '2020-01-01 00:00:00', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyy')",
        "DATE_FORMAT(TIMESTAMP '2020-01-01 00:00:00', 'SSSSSSSSSSSSSSS')",
        "TO_TIMESTAMP('99999999999999999', 'y')",
        "TO_TIMESTAMP('2020-13', 'yyyy-MM')",
        "UNIX_TIMESTAMP('999999999999999999', 'y')",
        "UNIX_TIMESTAMP('é', 'a')",
        "REGEXP_EXTRACT('aé', '(é)', 1)",
        "REGEXP_REPLACE('a', 'a', '$')",
        "STR_TO_MAP('a=1', '', '')",
        "PARSE_URL('http://[::1', 'HOST')",
        "JSON_VALUE('{}', '$[')",
        "JSON_VALUE('{}', '')",
        "'a' LIKE 'a!' ESCAPE '!'",
        "'a' SIMILAR TO '('",
        "CAST('x' AS CHAR(2147483647))",
        "INTERVAL '1' DAY * 1e300",
        "CEIL(TIMESTAMP '2020-01-01 00:00:00' TO MILLENNIUM)",
    ] {
        // A panic is what must not be; the value is seen elsewhere.
        let _ = super::testing::eval(sql);
    }
}

fn texts(values: &[Option<&str>]) -> ColumnarValue {
    ColumnarValue::Array(Arc::new(StringArray::from(values.to_vec())))
}

fn constant(value: impl Into<ScalarValue>) -> ColumnarValue {
    ColumnarValue::Scalar(value.into())
}

/// The texts that function `name` makes of columns of `rows` rows; NULL is `-`.
fn made(name: &str, args: Vec<ColumnarValue>, rows: usize) -> Vec<String> {
    let array = over_columns(name, args, rows);
    array.as_string::<i32>().iter().map(|t| t.unwrap_or("-").to_string()).collect()
}

#[test]
fn columns_of_texts() {
    let plain = [Some("aB"), None, Some(""), Some("Zz-1")];
    assert_eq!(made("lower", vec![texts(&plain)], 4), ["ab", "-", "", "zz-1"]);
    assert_eq!(made("upper", vec![texts(&plain)], 4), ["AB", "-", "", "ZZ-1"]);
    let whole: ArrayRef =
        Arc::new(StringArray::from(vec![Some("ÀÉ"), Some("aB"), None, Some("C"), Some("ß")]));
    assert_eq!(made("lower", vec![ColumnarValue::Array(whole.slice(1, 3))], 3), ["ab", "-", "c"]);
    assert_eq!(made("upper", vec![ColumnarValue::Array(whole)], 5), ["ÀÉ", "AB", "-", "C", "SS"]);
    let urls = [Some("http://a.b/c/d"), Some("/"), Some(""), None, Some("é/ü/"), Some("x")];
    for (n, expected) in [
        (0, ["http:", "", "-", "-", "é", "x"]),
        (1, ["", "", "-", "-", "ü", "-"]),
        (2, ["a.b", "-", "-", "-", "", "-"]),
        (4, ["d", "-", "-", "-", "-", "-"]),
        (5, ["-", "-", "-", "-", "-", "-"]),
    ] {
        assert_eq!(made("split_index", vec![texts(&urls), constant("/"), constant(n)], 6), expected);
        assert_eq!(made("split_index", vec![texts(&urls), constant(47), constant(n)], 6), expected);
    }
    let two = [Some("a::b:c"), Some("::"), None];
    assert_eq!(made("split_index", vec![texts(&two), constant("::"), constant(1)], 3), ["b:c", "", "-"]);
    let pattern = "(&|^)id=([^&]*)";
    let queries = [Some("a=1&id=7&b"), Some("id=é"), Some("xid=3"), None, Some("id=")];
    let extract =
        |group: i32| made("regexp_extract", vec![texts(&queries), constant(pattern), constant(group)], 5);
    assert_eq!(extract(2), ["7", "é", "-", "-", ""]);
    assert_eq!(extract(1), ["&", "", "-", "-", ""]);
    assert_eq!(extract(0), ["&id=7", "id=é", "-", "-", "id="]);
    let patterns = texts(&[Some("(a)=(1)"), Some("i(d)"), Some("("), Some("a"), Some("(i)(d)")]);
    let found = made("regexp_extract", vec![texts(&queries), patterns, constant(1)], 5);
    assert_eq!(found, ["a", "d", "-", "-", "i"]);
}

#[test]
fn columns_of_times_and_decimals() {
    let day = 86_400_000;
    let ms =
        [Some(0), Some(59_999), Some(60_000), None, Some(-1), Some(19_000 * day + 1), Some(19_001 * day)];
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(ms.to_vec()));
    let formatted = |pattern: &str| {
        made("date_format", vec![ColumnarValue::Array(Arc::clone(&times)), constant(pattern)], ms.len())
    };
    assert_eq!(
        formatted("yyyy-MM-dd"),
        ["1970-01-01", "1970-01-01", "1970-01-01", "-", "1969-12-31", "2022-01-08", "2022-01-09"]
    );
    assert_eq!(formatted("HH:mm"), ["00:00", "00:00", "00:01", "-", "23:59", "00:00", "00:00"]);
    assert_eq!(formatted("ss"), ["00", "59", "00", "-", "59", "00", "00"]);
    assert_eq!(formatted("SSS"), ["000", "999", "000", "-", "999", "001", "000"]);
    let shift = |days: i32, milliseconds: i32| {
        let by = ScalarValue::IntervalDayTime(Some(IntervalDayTime::new(days, milliseconds)));
        let moved = over_columns("-", vec![ColumnarValue::Array(Arc::clone(&times)), constant(by)], ms.len());
        moved.as_primitive::<TimestampMillisecondType>().iter().collect::<Vec<_>>()
    };
    let expected = |by: i64| ms.iter().map(|m| m.map(|m| m - by)).collect::<Vec<_>>();
    assert_eq!(shift(0, 4000), expected(4000));
    assert_eq!(shift(1, -1), expected(day - 1));
    let factor = constant(ScalarValue::Decimal128(Some(908), 3, 3));
    let numbers: ArrayRef =
        Arc::new(Int64Array::from(vec![Some(100), None, Some(-7), Some(i64::MAX), Some(i64::MIN + 1)]));
    for args in [
        vec![factor.clone(), ColumnarValue::Array(Arc::clone(&numbers))],
        vec![ColumnarValue::Array(Arc::clone(&numbers)), factor.clone()],
    ] {
        let products = over_columns("*", args, 5);
        let big = i128::from(i64::MAX) * 908;
        let expected = [Some(90_800), None, Some(-6_356), Some(big), Some(-big)];
        assert_eq!(products.as_primitive::<Decimal128Type>().iter().collect::<Vec<_>>(), expected);
    }
    let none = constant(ScalarValue::Decimal128(None, 3, 3));
    assert_eq!(over_columns("*", vec![none, ColumnarValue::Array(numbers)], 5).null_count(), 5);
    let column = |values: [i128; 2]| -> ColumnarValue {
        let array = Decimal128Array::from(values.to_vec()).with_precision_and_scale(5, 1).unwrap();
        ColumnarValue::Array(Arc::new(array))
    };
    let products = over_columns("*", vec![column([15, -20]), column([4, 5])], 2);
    assert_eq!(products.as_primitive::<Decimal128Type>().values().to_vec(), [60, -100]);
}
