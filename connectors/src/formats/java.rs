//! Texts as Java writes them: what Flink's print sink and its encoders make of numbers.

/// `Double.toString`: `1.0`, `1.0E10`, `NaN`, `-Infinity`.
pub fn write_double(out: &mut Vec<u8>, value: f64) {
    write_float_digits(out, value.is_nan(), value.is_infinite(), value < 0.0, &format!("{value:e}"));
}

/// `Float.toString`.
pub fn write_float(out: &mut Vec<u8>, value: f32) {
    write_float_digits(out, value.is_nan(), value.is_infinite(), value < 0.0, &format!("{value:e}"));
}

/// `scientific` is Rust's shortest text, `-1.25e-7`.
fn write_float_digits(out: &mut Vec<u8>, nan: bool, infinite: bool, negative: bool, scientific: &str) {
    if nan {
        return out.extend_from_slice(b"NaN");
    }
    if infinite {
        return out.extend_from_slice(if negative { b"-Infinity" } else { b"Infinity" });
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => mantissa,
    };
    let digits = mantissa.bytes().filter(|b| *b != b'.').collect::<Vec<_>>();
    if digits == b"0" {
        return out.extend_from_slice(b"0.0");
    }
    if !(-3..7).contains(&exponent) {
        out.push(digits[0]);
        out.push(b'.');
        out.extend_from_slice(if digits.len() > 1 { &digits[1..] } else { b"0" });
        out.push(b'E');
        return out.extend_from_slice(exponent.to_string().as_bytes());
    }
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        return out.extend_from_slice(&digits);
    }
    let whole = exponent as usize + 1;
    out.extend_from_slice(&digits[..whole.min(digits.len())]);
    out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(digits.len())));
    out.push(b'.');
    out.extend_from_slice(digits.get(whole..).filter(|rest| !rest.is_empty()).unwrap_or(b"0"));
}

/// How [`write_decimal`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalText {
    /// `BigDecimal.toString`: an exponent where the scale is negative or the number small.
    Scientific,
    /// `BigDecimal.toPlainString`.
    Plain,
}

/// A DECIMAL of `scale` as `BigDecimal` writes it; `strip` takes trailing zeros off first (100.00 becomes 1E+2).
pub fn write_decimal(out: &mut Vec<u8>, value: i128, scale: i8, strip: bool, text: DecimalText) {
    let mut scale = i32::from(scale);
    let mut unscaled = value;
    if strip {
        if unscaled == 0 {
            scale = 0;
        }
        while unscaled != 0 && unscaled % 10 == 0 {
            unscaled /= 10;
            scale -= 1;
        }
    }
    if unscaled < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(unscaled.unsigned_abs()).as_bytes();
    let exponent = digits.len() as i32 - 1 - scale;
    if text == DecimalText::Scientific && (scale < 0 || exponent < -6) {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.push(b'E');
        if exponent >= 0 {
            out.push(b'+');
        }
        return out.extend_from_slice(exponent.to_string().as_bytes());
    }
    if scale <= 0 {
        out.extend_from_slice(digits);
        if unscaled != 0 {
            out.extend(std::iter::repeat_n(b'0', -scale as usize));
        }
        return;
    }
    let scale = scale as usize;
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', scale - digits.len()));
        out.extend_from_slice(digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_as_java_writes_them() {
        for (value, text) in [
            (1.0, "1.0"),
            (1e10, "1.0E10"),
            (1e7, "1.0E7"),
            (1234567.5, "1234567.5"),
            (0.001, "0.001"),
            (1e-5, "1.0E-5"),
            (123456789.125, "1.23456789125E8"),
            (-0.0, "-0.0"),
            (100.0, "100.0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            let mut out = Vec::new();
            write_double(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        let mut out = Vec::new();
        write_float(&mut out, 1.1);
        assert_eq!(out, b"1.1");
    }

    #[test]
    fn decimals_as_java_writes_them() {
        let text = |value, scale, strip, text| {
            let mut out = Vec::new();
            write_decimal(&mut out, value, scale, strip, text);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(1230, 2, true, DecimalText::Scientific), "12.3");
        assert_eq!(text(10_000, 2, true, DecimalText::Scientific), "1E+2");
        assert_eq!(text(10_000, 2, true, DecimalText::Plain), "100");
        assert_eq!(text(1, 10, true, DecimalText::Scientific), "1E-10");
        assert_eq!(text(1, 10, false, DecimalText::Plain), "0.0000000001");
        assert_eq!(text(-150, 2, false, DecimalText::Scientific), "-1.50");
        assert_eq!(text(0, 2, false, DecimalText::Scientific), "0.00");
        assert_eq!(text(0, 2, true, DecimalText::Scientific), "0");
        assert_eq!(text(1, 7, false, DecimalText::Scientific), "1E-7");
        assert_eq!(text(1, 6, false, DecimalText::Scientific), "0.000001");
    }
}
