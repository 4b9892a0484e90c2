//! Texts and bytes into each other: hexadecimal, base64, character sets, hashes.

use super::field::{Length, declare};
use super::scalar::{Binding, Call, Function, Kind, check_size, result, user, user_hint};
use super::text::hex_lower;
use arrow::array::*;
use arrow::datatypes::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs};
use std::sync::Arc;

const T: Kind = Kind::Text;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("HEX", &[Kind::TextOrInteger], result::text, hex),
    Function::new("BIN", &[Kind::Integer], result::text, bin),
    Function::new("TO_BASE64", &[Kind::TextOrBytes], result::text, to_base64),
    Function::new("FROM_BASE64", &[T], result::text, from_base64),
    Function::new("ENCODE", &[T, T], encoded, encode),
    Function::new("DECODE", &[Kind::Bytes, T], result::nullable_text, decode),
    Function::new("MD5", &[Kind::TextOrBytes], |b| hashed(b, 32), |c| hash(c, "md5")),
    Function::new("SHA1", &[Kind::TextOrBytes], |b| hashed(b, 40), |c| hash(c, "sha1")),
    Function::new("SHA224", &[Kind::TextOrBytes], |b| hashed(b, 56), |c| hash(c, "sha224")),
    Function::new("SHA256", &[Kind::TextOrBytes], |b| hashed(b, 64), |c| hash(c, "sha256")),
    Function::new("SHA384", &[Kind::TextOrBytes], |b| hashed(b, 96), |c| hash(c, "sha384")),
    Function::new("SHA512", &[Kind::TextOrBytes], |b| hashed(b, 128), |c| hash(c, "sha512")),
    Function::new("SHA2", &[Kind::TextOrBytes, Kind::Integer], sha2_type, sha2),
];

/// Hexadecimal digits of a hash.
fn hashed(b: &Binding<'_>, digits: usize) -> Result<Field> {
    Ok(b.text(Length::Exactly(digits), b.nullable()))
}

/// Flink declares BINARY(1), whatever the bytes are.
fn encoded(_: &Binding<'_>) -> Result<Field> {
    Ok(declare(DataType::Binary, true, "BINARY(1)"))
}

fn hex(call: &Call<'_>) -> Result<ArrayRef> {
    if call.fields[0].data_type().is_signed_integer() {
        let number = call.long(0)?;
        return call.texts(|row, out| {
            let Some(n) = number.get(row) else { return Ok(false) };
            out.push_str(&format!("{n:X}"));
            Ok(true)
        });
    }
    let text = call.text(0)?;
    call.texts(|row, out| {
        let Some(t) = text.get(row) else { return Ok(false) };
        check_size(t.len() * 2, "HEX")?;
        hex_lower(out, t.as_bytes());
        out.make_ascii_uppercase();
        Ok(true)
    })
}

fn bin(call: &Call<'_>) -> Result<ArrayRef> {
    let number = call.long(0)?;
    call.texts(|row, out| {
        let Some(n) = number.get(row) else { return Ok(false) };
        out.push_str(&format!("{n:b}"));
        Ok(true)
    })
}

fn to_base64(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.bytes(0)?;
    call.texts(|row, out| {
        let Some(t) = text.get(row) else { return Ok(false) };
        check_size(t.len() / 3 * 4 + 4, "TO_BASE64")?;
        STANDARD.encode_string(t, out);
        Ok(true)
    })
}

/// Java's decoder takes texts without padding, too.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn from_base64(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.texts(|row, out| {
        let Some(t) = text.get(row) else { return Ok(false) };
        match LENIENT.decode(t) {
            Ok(bytes) => out.push_str(&String::from_utf8_lossy(&bytes)),
            Err(e) => return user(format!("FROM_BASE64: the text is not base64: {e}.")),
        }
        Ok(true)
    })
}

#[derive(Clone, Copy)]
enum Charset {
    Utf8,
    Ascii,
    Latin1,
    Utf16,
    Utf16Le,
    Utf16Be,
}

fn charset(name: &str) -> Result<Charset> {
    Ok(match name.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" => Charset::Utf8,
        "US-ASCII" | "ASCII" => Charset::Ascii,
        "ISO-8859-1" | "LATIN1" => Charset::Latin1,
        "UTF-16" => Charset::Utf16,
        "UTF-16LE" => Charset::Utf16Le,
        "UTF-16BE" => Charset::Utf16Be,
        _ => {
            return user_hint(
                format!("There is no character set '{name}'."),
                "Known are US-ASCII, ISO-8859-1, UTF-8, UTF-16BE, UTF-16LE, UTF-16.",
            );
        }
    })
}

fn encode(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, set) = (call.text(0)?, call.text(1)?);
    let mut out = BinaryBuilder::new();
    for row in 0..call.rows {
        let (Some(t), Some(set)) = (text.get(row), set.get(row)) else {
            out.append_null();
            continue;
        };
        let narrow =
            |limit: u32| t.chars().map(|c| if (c as u32) < limit { c as u8 } else { b'?' }).collect();
        let wide = |little: bool| -> Vec<u8> {
            t.encode_utf16().flat_map(|u| if little { u.to_le_bytes() } else { u.to_be_bytes() }).collect()
        };
        check_size(t.len().saturating_mul(2), "ENCODE")?;
        out.append_value(match charset(set)? {
            Charset::Utf8 => t.as_bytes().to_vec(),
            Charset::Ascii => narrow(128),
            Charset::Latin1 => narrow(256),
            Charset::Utf16 if t.is_empty() => Vec::new(),
            Charset::Utf16 => [vec![0xfe, 0xff], wide(false)].concat(),
            Charset::Utf16Be => wide(false),
            Charset::Utf16Le => wide(true),
        });
    }
    Ok(Arc::new(out.finish()))
}

fn decode(call: &Call<'_>) -> Result<ArrayRef> {
    let (bytes, set) = (call.bytes(0)?, call.text(1)?);
    call.texts(|row, out| {
        let (Some(b), Some(set)) = (bytes.get(row), set.get(row)) else { return Ok(false) };
        let wide = |b: &[u8], little: bool| {
            let units: Vec<u16> =
                b.chunks_exact(2)
                    .map(|p| {
                        if little {
                            u16::from_le_bytes([p[0], p[1]])
                        } else {
                            u16::from_be_bytes([p[0], p[1]])
                        }
                    })
                    .collect();
            String::from_utf16_lossy(&units)
        };
        match charset(set)? {
            Charset::Utf8 => out.push_str(&String::from_utf8_lossy(b)),
            Charset::Ascii => {
                out.extend(b.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '\u{fffd}' }))
            }
            Charset::Latin1 => out.extend(b.iter().map(|b| char::from(*b))),
            Charset::Utf16 => match b {
                [0xff, 0xfe, rest @ ..] => out.push_str(&wide(rest, true)),
                [0xfe, 0xff, rest @ ..] => out.push_str(&wide(rest, false)),
                rest => out.push_str(&wide(rest, false)),
            },
            Charset::Utf16Be => out.push_str(&wide(b, false)),
            Charset::Utf16Le => out.push_str(&wide(b, true)),
        }
        Ok(true)
    })
}

fn sha2_type(b: &Binding<'_>) -> Result<Field> {
    if let Some(Some(bits)) = b.constants.get(1)
        && let Ok(ScalarValue::Int64(Some(bits))) = bits.cast_to(&DataType::Int64)
    {
        sha2_name(bits)?;
    }
    Ok(b.text(Length::AtMost(128), b.nullable()))
}

fn sha2_name(bits: i64) -> Result<&'static str> {
    Ok(match bits {
        224 => "sha224",
        256 => "sha256",
        384 => "sha384",
        512 => "sha512",
        _ => return user_hint(format!("SHA2 has no hash of {bits} bits."), "It has 224, 256, 384 and 512."),
    })
}

fn sha2(call: &Call<'_>) -> Result<ArrayRef> {
    let bits = call.long(1)?;
    // One hash for all rows is the rule; mixed ones are hashed one row at a time.
    let first = (0..call.rows).find_map(|row| bits.get(row));
    let Some(first) = first else { return Ok(new_null_array(&DataType::Utf8, call.rows)) };
    if (0..call.rows).any(|row| bits.get(row) != Some(first)) {
        let text = call.array(0)?;
        let mut rows = Vec::with_capacity(call.rows);
        for row in 0..call.rows {
            rows.push(match bits.get(row) {
                None => new_null_array(&DataType::Utf8, 1),
                Some(bits) => digest(&text.slice(row, 1), sha2_name(bits)?)?,
            });
        }
        let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
        return Ok(arrow::compute::concat(&rows)?);
    }
    hash(call, sha2_name(first)?)
}

fn hash(call: &Call<'_>, name: &str) -> Result<ArrayRef> {
    digest(&call.array(0)?, name)
}

/// The hash of each text or bytes, as lower-case hexadecimal digits. DataFusion has all but SHA-1.
fn digest(texts: &ArrayRef, name: &str) -> Result<ArrayRef> {
    if texts.data_type().is_null() {
        return Ok(new_null_array(&DataType::Utf8, texts.len()));
    }
    let texts = &arrow::compute::cast(texts, &DataType::Binary)?;
    if name == "sha1" {
        let texts = texts.as_binary::<i32>();
        let hashed: StringArray = texts
            .iter()
            .map(|t| {
                t.map(|t| {
                    let mut out = String::with_capacity(40);
                    hex_lower(&mut out, &sha1(t));
                    out
                })
            })
            .collect();
        return Ok(Arc::new(hashed));
    }
    let udf = match name {
        "md5" => datafusion_functions::crypto::md5(),
        "sha224" => datafusion_functions::crypto::sha224(),
        "sha256" => datafusion_functions::crypto::sha256(),
        "sha384" => datafusion_functions::crypto::sha384(),
        _ => datafusion_functions::crypto::sha512(),
    };
    let field = Arc::new(Field::new("", DataType::Binary, true));
    let returned = udf.return_type(&[DataType::Binary])?;
    let out = udf.invoke_with_args(ScalarFunctionArgs {
        args: vec![ColumnarValue::Array(Arc::clone(texts))],
        arg_fields: vec![field],
        number_rows: texts.len(),
        return_field: Arc::new(Field::new("", returned, true)),
        config_options: Arc::default(),
    })?;
    let out = out.into_array(texts.len())?;
    if out.data_type() == &DataType::Binary {
        let bytes = out.as_binary::<i32>();
        let hashed: StringArray = bytes
            .iter()
            .map(|b| {
                b.map(|b| {
                    let mut out = String::with_capacity(b.len() * 2);
                    hex_lower(&mut out, b);
                    out
                })
            })
            .collect();
        return Ok(Arc::new(hashed));
    }
    Ok(arrow::compute::cast(&out, &DataType::Utf8)?)
}

/// SHA-1 (FIPS 180-4).
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut h: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64).wrapping_mul(8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut w = [0_u32; 80];
        for (w, b) in w.iter_mut().zip(block.chunks_exact(4)) {
            *w = u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
        }
        for i in 16..80 {
            w[i] = (w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = h;
        for (i, w) in w.iter().enumerate() {
            let (f, k) = match i / 20 {
                0 => ((b & c) | (!b & d), 0x5A82_7999),
                1 => (b ^ c ^ d, 0x6ED9_EBA1),
                2 => ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(*w);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (h, v) in h.iter_mut().zip([a, b, c, d, e]) {
            *h = h.wrapping_add(v);
        }
    }
    let mut out = [0; 20];
    for (out, h) in out.chunks_exact_mut(4).zip(h) {
        out.copy_from_slice(&h.to_be_bytes());
    }
    out
}
