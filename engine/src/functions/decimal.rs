//! DECIMAL as Flink computes it: result types, HALF_UP, NULL where a value does not fit.

/// Digits that a DECIMAL has at most.
pub const MAX_PRECISION: u8 = 38;
/// Digits after the point that are kept when a type must shrink.
const MIN_SCALE: i32 = 6;

/// Precision and scale.
pub type Shape = (u8, i8);

/// The type for `whole` digits before and `scale` after the point, shrunk to 38 digits as Flink does.
pub fn fit(whole: i32, scale: i32) -> Shape {
    let max = i32::from(MAX_PRECISION);
    if whole + scale <= max {
        return ((whole + scale).max(1) as u8, scale as i8);
    }
    (MAX_PRECISION, (max - whole).max(scale.min(MIN_SCALE)) as i8)
}

fn parts((p, s): Shape) -> (i32, i32) {
    (i32::from(p), i32::from(s))
}

/// Type of a sum or a difference.
pub fn plus(a: Shape, b: Shape) -> Shape {
    let ((p1, s1), (p2, s2)) = (parts(a), parts(b));
    fit((p1 - s1).max(p2 - s2) + 1, s1.max(s2))
}

/// Type of a product.
pub fn times(a: Shape, b: Shape) -> Shape {
    let ((p1, s1), (p2, s2)) = (parts(a), parts(b));
    fit(p1 + p2 + 1 - s1 - s2, s1 + s2)
}

/// Type of a quotient.
pub fn divide(a: Shape, b: Shape) -> Shape {
    let ((p1, s1), (p2, s2)) = (parts(a), parts(b));
    let scale = (s1 + p2 + 1).max(MIN_SCALE);
    fit(p1 - s1 + s2, scale)
}

/// Type of a remainder.
pub fn modulo(a: Shape, b: Shape) -> Shape {
    let ((p1, s1), (p2, s2)) = (parts(a), parts(b));
    fit((p1 - s1).min(p2 - s2), s1.max(s2))
}

/// Type of ROUND and TRUNCATE to `digits` after the point.
pub fn rounded((p, s): Shape, digits: i64) -> Shape {
    if digits >= i64::from(s) {
        return (p, s);
    }
    if digits < 0 {
        return ((i32::from(p) - i32::from(s) + 1).clamp(1, 38) as u8, 0);
    }
    ((i64::from(p) - i64::from(s) + digits + 1).clamp(1, 38) as u8, digits as i8)
}

/// The type that holds both.
pub fn common(a: Shape, b: Shape) -> Shape {
    let ((p1, s1), (p2, s2)) = (parts(a), parts(b));
    fit((p1 - s1).max(p2 - s2), s1.max(s2))
}

/// 10^n, if an i128 holds it.
pub fn power(n: u32) -> Option<i128> {
    10_i128.checked_pow(n)
}

/// `value` of scale `from` at scale `to`, rounded HALF_UP; `None` beyond i128.
pub fn rescale(value: i128, from: i32, to: i32) -> Option<i128> {
    if to >= from {
        value.checked_mul(power((to - from) as u32)?)
    } else {
        match power((from - to) as u32) {
            Some(unit) => Some(divide_half_up(value, unit)),
            None => Some(0),
        }
    }
}

/// A quotient rounded HALF_UP (away from zero). The divisor must be positive.
pub fn divide_half_up(value: i128, divisor: i128) -> i128 {
    let (q, r) = (value / divisor, value % divisor);
    // r * 2 could overflow; compare with the rest instead.
    if r.unsigned_abs() >= divisor.unsigned_abs() - r.unsigned_abs() { q + value.signum() } else { q }
}

/// The value, if it has at most `precision` digits.
pub fn checked(value: i128, precision: u8) -> Option<i128> {
    let limit = power(u32::from(precision))?;
    (value.unsigned_abs() < limit.unsigned_abs()).then_some(value)
}

/// 256 bits, for products and shifted dividends.
type Wide = arrow::datatypes::i256;

/// `a * 10^shift / divisor`, HALF_UP, as Flink divides; `None` if it does not fit. The divisor is not zero.
pub fn quotient(a: i128, shift: i32, divisor: i128) -> Option<i128> {
    let ten = Wide::from_i128(10);
    let (mut a, mut d) = (Wide::from_i128(a), Wide::from_i128(divisor));
    if shift >= 0 {
        a = a.checked_mul(ten.checked_pow(shift as u32)?)?;
    } else {
        d = d.checked_mul(ten.checked_pow(shift.unsigned_abs())?)?;
    }
    wide_half_up(a, d)?.to_i128()
}

/// `a * b / 10^drop`, HALF_UP.
pub fn product(a: i128, b: i128, drop: i32) -> Option<i128> {
    let wide = Wide::from_i128(a).checked_mul(Wide::from_i128(b))?;
    if drop <= 0 {
        return wide.to_i128()?.checked_mul(power(drop.unsigned_abs())?);
    }
    wide_half_up(wide, Wide::from_i128(10).checked_pow(drop as u32)?)?.to_i128()
}

fn wide_half_up(a: Wide, d: Wide) -> Option<Wide> {
    let q = a.checked_div(d)?;
    let r = a.checked_rem(d)?;
    let (r, size) = (r.wrapping_abs(), d.wrapping_abs());
    if r != Wide::ZERO && r >= size.checked_sub(r)? {
        let away = if (a < Wide::ZERO) == (d < Wide::ZERO) { Wide::ONE } else { Wide::MINUS_ONE };
        return q.checked_add(away);
    }
    Some(q)
}

/// A text that is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoNumber;

/// Reads `[+-]digits[.digits][e[+-]digits]` as an unscaled value at `scale`, HALF_UP. `Err` if it is no
/// number, `Ok(None)` if it does not fit an i128.
pub fn parse(text: &str, scale: i32) -> Result<Option<i128>, NoNumber> {
    let bytes = text.as_bytes();
    let (negative, mut rest) = match bytes {
        [b'-', r @ ..] => (true, r),
        [b'+', r @ ..] => (false, r),
        r => (false, r),
    };
    let mut exponent = 0_i32;
    if let Some(e) = rest.iter().position(|b| matches!(b, b'e' | b'E')) {
        exponent =
            std::str::from_utf8(&rest[e + 1..]).map_err(|_| NoNumber)?.parse().map_err(|_| NoNumber)?;
        if exponent.unsigned_abs() > 10_000 {
            return Ok((exponent < 0).then_some(0));
        }
        rest = &rest[..e];
    }
    let mut value = 0_i128;
    let mut digits = 0;
    let mut after = 0_i32;
    let mut point = false;
    let mut overflow = false;
    // Digits beyond this many after the point cannot change the result, except the first (HALF_UP).
    let keep = scale.saturating_add(exponent).saturating_add(1);
    for b in rest {
        match b {
            b'.' if !point => point = true,
            b'0'..=b'9' => {
                digits += 1;
                if point && after >= keep.max(0) {
                    continue;
                }
                match value.checked_mul(10).and_then(|v| v.checked_add(i128::from(b - b'0'))) {
                    Some(v) => value = v,
                    None => overflow = true,
                }
                after += i32::from(point);
            }
            _ => return Err(NoNumber),
        }
    }
    if digits == 0 {
        return Err(NoNumber);
    }
    if overflow {
        return Ok(None);
    }
    let value = if negative { -value } else { value };
    Ok(rescale(value, after.saturating_sub(exponent), scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_flinks() {
        // TYPEOF on Flink 1.20.
        assert_eq!(divide((2, 1), (10, 0)), (13, 12));
        assert_eq!(divide((10, 0), (2, 1)), (17, 6));
        assert_eq!(plus((2, 1), (3, 2)), (4, 2));
        assert_eq!(times((2, 1), (3, 2)), (6, 3));
        assert_eq!(modulo((3, 1), (10, 0)), (3, 1));
        assert_eq!(times((19, 0), (2, 1)), (22, 1));
        assert_eq!(times((38, 10), (38, 10)), (38, 6));
        assert_eq!(plus((38, 10), (38, 20)), (38, 9));
        assert_eq!(divide((38, 10), (38, 20)), (38, 6));
        assert_eq!(modulo((20, 10), (10, 5)), (15, 10));
        assert_eq!(plus((38, 10), (10, 0)), (38, 9));
        assert_eq!(rounded((8, 3), -2), (6, 0));
        assert_eq!(rounded((8, 3), 2), (8, 2));
        assert_eq!(rounded((3, 2), 5), (3, 2));
        assert_eq!(rounded((38, 4), 1), (36, 1));
    }

    #[test]
    fn rounds_half_up() {
        assert!(matches!(parse("1.6777216e7", 5), Ok(Some(1_677_721_600_000))));
        assert!(matches!(parse("9.9e-4", 3), Ok(Some(1))));
        assert_eq!(rescale(125, 2, 1), Some(13));
        assert_eq!(rescale(-125, 2, 1), Some(-13));
        assert_eq!(rescale(124, 2, 1), Some(12));
        assert_eq!(rescale(i128::MAX, 0, 1), None);
        assert_eq!(rescale(i128::MIN, 38, 0), Some(-2));
        assert_eq!(quotient(1, 6, 3), Some(333_333));
        assert_eq!(quotient(-2, 0, 4), Some(-1));
        assert_eq!(quotient(i128::MIN, 0, -1), None);
        assert_eq!(product(15, 15, 1), Some(23));
    }

    #[test]
    fn parses() {
        assert_eq!(parse("1.25", 1), Ok(Some(13)));
        assert_eq!(parse("-1.25", 1), Ok(Some(-13)));
        assert_eq!(parse("1e2", 1), Ok(Some(1000)));
        assert_eq!(parse("1.5e-1", 2), Ok(Some(15)));
        assert_eq!(parse("", 1), Err(NoNumber));
        assert_eq!(parse(".", 1), Err(NoNumber));
        assert_eq!(parse("1.2.3", 1), Err(NoNumber));
        assert_eq!(parse("1e99", 1), Ok(None));
        assert_eq!(parse("1e-99", 1), Ok(Some(0)));
        assert_eq!(parse("0.049999999999999999999999999999999999999999999999", 1), Ok(Some(0)));
    }
}
