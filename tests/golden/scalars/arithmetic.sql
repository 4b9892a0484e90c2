-- order: ordered
SELECT 7 / 2, -7 / 2, -7 % 3, 7.0 / 2, 1 / 3.0, 2 * 1.5, 1.5 + 2.25, 10 - 0.5, 2147483647 + 1;
SELECT i / 2, i % 2, b - i, d + 1, d * d, d / 3, f * i FROM Mixed WHERE b < 100;
SELECT ABS(-3), ABS(-1.5), CEIL(1.2), FLOOR(-1.2), ROUND(2.5, 0), ROUND(-2.5, 0), ROUND(12345.678, -2), POWER(2, 10), SQRT(2), LN(10), LOG10(100), LOG(10), EXP(1), MOD(-7, 3), SIGN(-3.2), TRUNCATE(1.999, 2);
