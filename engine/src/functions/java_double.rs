//! The digits of a FLOAT or DOUBLE as the Java that Flink 1.20 runs on (before 19) chooses them: often the fewest
//! that give the value back, sometimes one more.

/// Most digits that a value has.
const MAX_DIGITS: usize = 24;
/// Fraction bits of a DOUBLE.
const FRACTION_BITS: i32 = 52;
/// Words of the largest number in the computation: 5^340 * 2^1100.
const WORDS: usize = 64;

/// Decimal digits and the place of the point: 0.d1d2d3… * 10^`point`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digits {
    digits: [u8; MAX_DIGITS],
    len: usize,
    /// Digits before the point; 0 or less for numbers below 1.
    pub point: i32,
}

impl Digits {
    /// The digits, as ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    fn push(&mut self, digit: u8) {
        if let Some(place) = self.digits.get_mut(self.len) {
            *place = b'0' + digit;
            self.len += 1;
        }
    }

    /// Adds one to the last digit. Zeros that come of it stay, as in Java.
    fn round_up(&mut self) {
        for digit in self.digits[..self.len].iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
        self.digits[0] = b'1';
        self.point += 1;
    }
}

/// Digits of a finite value above 0.
pub(super) fn of_double(value: f64) -> Digits {
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> FRACTION_BITS) as i32 & 0x7ff, bits & ((1 << FRACTION_BITS) - 1));
    let hidden = 1 << FRACTION_BITS;
    if exponent > 0 {
        return digits(fraction | hidden, exponent - 1023, FRACTION_BITS + 1);
    }
    // Below the smallest normal number the leading bit moves.
    let shift = fraction.leading_zeros() as i32 - (63 - FRACTION_BITS);
    digits(fraction << shift, 1 - shift - 1023, 64 - fraction.leading_zeros() as i32)
}

/// Digits of a finite value above 0.
pub(super) fn of_float(value: f32) -> Digits {
    const BITS: i32 = 23;
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> BITS) as i32 & 0xff, bits & ((1 << BITS) - 1));
    let wide = |fraction: u32| u64::from(fraction) << (FRACTION_BITS - BITS);
    if exponent > 0 {
        return digits(wide(fraction | 1 << BITS), exponent - 127, BITS + 1);
    }
    let shift = fraction.leading_zeros() as i32 - (31 - BITS);
    digits(wide(fraction << shift), 1 - shift - 127, 32 - fraction.leading_zeros() as i32)
}

/// Digits of `fraction` * 2^(`exponent` - 52), of which `significant` bits come from the value.
fn digits(fraction: u64, exponent: i32, significant: i32) -> Digits {
    let used = FRACTION_BITS + 1 - fraction.trailing_zeros() as i32;
    let below_point = (used - exponent - 1).max(0);
    if below_point == 0 && exponent <= 62 {
        return whole(fraction, exponent, significant);
    }
    // The value is b / s, half the distance to its neighbours m / s: scaled so that the digits are b / s, one by
    // one, until what is left is less than m.
    let point = estimated_point(fraction, exponent);
    let (b5, s5) = ((-point).max(0), point.max(0));
    let (mut b2, mut s2) = (b5 + below_point + exponent, s5 + below_point);
    let mut m2 = b2 - significant;
    let fraction = fraction >> fraction.trailing_zeros();
    b2 -= used - 1;
    let common = b2.min(s2);
    b2 -= common;
    s2 -= common;
    m2 -= common;
    // The neighbour below a power of two is only half as far away.
    if used == 1 {
        m2 -= 1;
    }
    if m2 < 0 {
        b2 -= m2;
        s2 -= m2;
        m2 = 0;
    }
    let (b_bits, ten_bits) = (used + b2 + bits_of_five(b5), s2 + 1 + bits_of_five(s5 + 1));
    let scale = Scale { b5, b2, s5, s2, m2 };
    if b_bits < 64 && ten_bits < 64 {
        generate::<i64>(fraction, &scale, point, true)
    } else if b_bits < 120 && ten_bits < 120 {
        generate::<i128>(fraction, &scale, point, false)
    } else {
        generate::<Big>(fraction, &scale, point, false)
    }
}

/// A whole number: digits that the value's bits do not tell are rounded off.
fn whole(fraction: u64, exponent: i32, significant: i32) -> Digits {
    let mut value = if exponent >= FRACTION_BITS {
        fraction << (exponent - FRACTION_BITS)
    } else {
        fraction >> (FRACTION_BITS - exponent)
    };
    let mut point = 0;
    if exponent > significant {
        let untold = (1_u64 << (exponent - significant - 1)).ilog10();
        if untold > 0 {
            let unit = 10_u64.pow(untold);
            let rest = value % unit;
            value = value / unit + u64::from(rest >= unit / 2);
            point = untold as i32;
        }
    }
    while value.is_multiple_of(10) {
        value /= 10;
        point += 1;
    }
    let mut out = Digits { digits: [0; MAX_DIGITS], len: 0, point };
    let mut unit = 10_u64.pow(value.ilog10());
    while unit > 0 {
        out.push((value / unit % 10) as u8);
        unit /= 10;
    }
    out.point += out.len as i32;
    out
}

/// The power of ten of the first digit, or one more.
fn estimated_point(fraction: u64, exponent: i32) -> i32 {
    let one = f64::from_bits((1023 << FRACTION_BITS) | (fraction & ((1 << FRACTION_BITS) - 1)));
    ((one - 1.5) * 0.289529654 + 0.176091259 + f64::from(exponent) * std::f64::consts::LOG10_2).floor() as i32
}

/// An upper bound of the bits of 5^`power`, exact for small ones.
fn bits_of_five(power: i32) -> i32 {
    if power <= 27 { 128 - 5_u128.pow(power.max(0) as u32).leading_zeros() as i32 } else { power * 3 }
}

/// The value is f * 5^b5 * 2^b2 / (5^s5 * 2^s2), its uncertainty 5^b5 * 2^m2 / (5^s5 * 2^s2).
struct Scale {
    b5: i32,
    b2: i32,
    s5: i32,
    s2: i32,
    m2: i32,
}

/// A number that is large enough for the value's size.
trait Number: Clone {
    fn new(value: u64, five: i32, two: i32) -> Self;
    /// The quotient, and ten times the remainder in its place.
    fn digit(&mut self, divisor: &Self) -> u8;
    fn times_ten(&mut self);
    fn cmp(&self, other: &Self) -> std::cmp::Ordering;
    fn sum_cmp(a: &Self, b: &Self, other: &Self) -> std::cmp::Ordering;
    fn twice_cmp(&self, other: &Self) -> std::cmp::Ordering;
}

/// `small` is how the computation within 64 bits decides about a value halfway.
fn generate<N: Number>(fraction: u64, scale: &Scale, mut point: i32, small: bool) -> Digits {
    let mut b = N::new(fraction, scale.b5, scale.b2);
    let s = N::new(1, scale.s5, scale.s2);
    let mut m = N::new(1, scale.b5, scale.m2);
    let mut tens = s.clone();
    tens.times_ten();
    let mut out = Digits { digits: [0; MAX_DIGITS], len: 0, point: 0 };
    let ends = |b: &N, m: &N| {
        let up = N::sum_cmp(b, m, &tens);
        (b.cmp(m).is_lt(), if small { up.is_gt() } else { up.is_ge() })
    };
    let first = b.digit(&s);
    m.times_ten();
    let (mut low, mut high) = ends(&b, &m);
    if first == 0 && !high {
        point -= 1;
    } else {
        out.push(first);
    }
    // With an exponent, two digits at least.
    if !(-3..8).contains(&point) {
        (low, high) = (false, false);
    }
    while !low && !high && out.len < MAX_DIGITS {
        let digit = b.digit(&s);
        m.times_ten();
        (low, high) = ends(&b, &m);
        out.push(digit);
    }
    out.point = point + 1;
    let odd = out.as_bytes().last().is_some_and(|d| d % 2 == 1);
    let up = match (low, high) {
        (true, true) => match b.twice_cmp(&tens) {
            std::cmp::Ordering::Equal => odd,
            other => other.is_gt(),
        },
        (_, high) => high,
    };
    if up {
        out.round_up();
    }
    out
}

macro_rules! machine_number {
    ($t:ty) => {
        impl Number for $t {
            fn new(value: u64, five: i32, two: i32) -> Self {
                (value as $t * (5 as $t).pow(five as u32)) << two
            }
            fn digit(&mut self, divisor: &Self) -> u8 {
                let digit = *self / divisor;
                *self = *self % divisor * 10;
                digit as u8
            }
            fn times_ten(&mut self) {
                *self = self.saturating_mul(10);
            }
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                Ord::cmp(self, other)
            }
            fn sum_cmp(a: &Self, b: &Self, other: &Self) -> std::cmp::Ordering {
                // Java's sum of two longs wraps, and so do the digits that it prints.
                if *b == <$t>::MAX {
                    return std::cmp::Ordering::Greater;
                }
                Ord::cmp(&a.wrapping_add(*b), other)
            }
            fn twice_cmp(&self, other: &Self) -> std::cmp::Ordering {
                Ord::cmp(&self.wrapping_sub(other.wrapping_sub(*self)), &0)
            }
        }
    };
}

machine_number!(i64);
machine_number!(i128);

/// A number of up to 32 * `WORDS` bits, lowest word first.
#[derive(Clone)]
struct Big {
    words: [u32; WORDS],
}

impl Big {
    fn times(&mut self, factor: u32) {
        let mut carry = 0_u64;
        for word in &mut self.words {
            let product = u64::from(*word) * u64::from(factor) + carry;
            *word = product as u32;
            carry = product >> 32;
        }
    }

    fn shifted(mut self, by: i32) -> Self {
        let (whole, bits) = (by as usize / 32, by as u32 % 32);
        self.words.rotate_right(whole.min(WORDS));
        self.times(1 << bits);
        self
    }

    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (word, o) in self.words.iter_mut().zip(&other.words) {
            let (v, b1) = word.overflowing_sub(*o);
            let (v, b2) = v.overflowing_sub(borrow.into());
            *word = v;
            borrow = b1 || b2;
        }
    }

    fn sum(&self, other: &Self) -> Self {
        let mut out = self.clone();
        let mut carry = false;
        for (word, o) in out.words.iter_mut().zip(&other.words) {
            let (v, c1) = word.overflowing_add(*o);
            let (v, c2) = v.overflowing_add(carry.into());
            *word = v;
            carry = c1 || c2;
        }
        out
    }
}

impl Number for Big {
    fn new(value: u64, five: i32, two: i32) -> Self {
        let mut words = [0; WORDS];
        (words[0], words[1]) = (value as u32, (value >> 32) as u32);
        let mut out = Self { words };
        let mut five = five;
        while five > 0 {
            let step = five.min(13);
            out.times(5_u32.pow(step as u32));
            five -= step;
        }
        out.shifted(two)
    }

    fn digit(&mut self, divisor: &Self) -> u8 {
        let mut digit = 0;
        while Number::cmp(self, divisor).is_ge() {
            self.subtract(divisor);
            digit += 1;
        }
        self.times_ten();
        digit
    }

    fn times_ten(&mut self) {
        self.times(10);
    }

    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.words.iter().rev().cmp(other.words.iter().rev())
    }

    fn sum_cmp(a: &Self, b: &Self, other: &Self) -> std::cmp::Ordering {
        Number::cmp(&a.sum(b), other)
    }

    fn twice_cmp(&self, other: &Self) -> std::cmp::Ordering {
        Number::cmp(&self.sum(self), other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(d: Digits) -> String {
        format!("{}e{}", std::str::from_utf8(d.as_bytes()).unwrap(), d.point - 1)
    }

    #[test]
    fn as_java_17_printed_them() {
        for (value, want) in [
            (0.1, "1e-1"),
            (0.1 + 0.2, "30000000000000004e-1"),
            (2.0e-3, "2e-3"),
            (2.0e23, "19999999999999998e23"),
            (1.0e23, "9999999999999999e22"),
            (4.9e-324, "49e-324"),
            (f64::MAX, "17976931348623157e308"),
            (f64::MIN_POSITIVE, "22250738585072014e-308"),
            (1_234_567_890_123_456_768.0, "123456789012345677e18"),
            (9_007_199_254_740_993_000.0, "9007199254740993e18"),
            (9.223372036854776e18, "9223372036854776e18"),
            (2.2e-322, "22e-322"),
        ] {
            assert_eq!(text(of_double(value)), want, "{value:e}");
        }
        for (value, want) in [
            (2_147_483_648.0_f32, "214748365e9"),
            (1.234_568e12, "123456795e12"),
            (1.1, "11e0"),
            (3.402_823_5e38, "34028235e38"),
            (1.4e-45, "14e-45"),
            (0.333_333_34, "33333334e-1"),
            (16_777_216.0, "16777216e7"),
        ] {
            assert_eq!(text(of_float(value)), want, "{value:e}");
        }
    }
}
