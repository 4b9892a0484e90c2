//! The hash of keys: ours, so that it is the same in every version and on every machine. State is spread over
//! key groups by it, and checkpoints keep that spread.
//!
//! A row's hash starts at `SEED` and takes in its columns from left to right as words of 64 bits, each by
//! `hash = mix(hash ^ word, MULTIPLIER)`, where `mix` multiplies to 128 bits and xors the halves:
//!
//! - NULL: the word `NULL`
//! - BOOLEAN, integers, dates, times, timestamps: the value as i64, in the column's unit
//! - FLOAT, DOUBLE: the bits as u32 or u64
//! - DECIMAL: the unscaled value's low word, then its high word
//! - texts and bytes: words of 8 bytes, little-endian, the last filled up with zeros; then the length
//! - nested types: the bytes of arrow's row format, as bytes

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type};

const SEED: u64 = 0x243f_6a88_85a3_08d3;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const NULL: u64 = 0xa409_3822_299f_31d0;

#[inline]
fn word(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(MULTIPLIER);
    (product as u64) ^ ((product >> 64) as u64)
}

#[inline]
fn bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut w = [0; 8];
        w.copy_from_slice(chunk);
        hash = word(hash, u64::from_le_bytes(w));
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut w = [0; 8];
        w[..rest.len()].copy_from_slice(rest);
        hash = word(hash, u64::from_le_bytes(w));
    }
    word(hash, bytes.len() as u64)
}

/// Hashes of `rows` rows of columns in physical form (see `column::Codec`), into `hashes`.
pub(crate) fn hash_rows(columns: &[ArrayRef], rows: usize, hashes: &mut Vec<u64>) {
    hashes.clear();
    hashes.resize(rows, SEED);
    for column in columns {
        let nulls = column.nulls();
        match column.data_type() {
            DataType::Int32 => {
                let values = column.as_primitive::<Int32Type>().values();
                take_in(hashes, nulls, |h, row| word(h, i64::from(values[row]) as u64));
            }
            DataType::Int64 => {
                let values = column.as_primitive::<Int64Type>().values();
                take_in(hashes, nulls, |h, row| word(h, values[row] as u64));
            }
            DataType::Float32 => {
                let values = column.as_primitive::<Float32Type>().values();
                take_in(hashes, nulls, |h, row| word(h, u64::from(values[row].to_bits())));
            }
            DataType::Float64 => {
                let values = column.as_primitive::<Float64Type>().values();
                take_in(hashes, nulls, |h, row| word(h, values[row].to_bits()));
            }
            DataType::Decimal128(..) => {
                let values = column.as_primitive::<Decimal128Type>().values();
                take_in(hashes, nulls, |h, row| {
                    word(word(h, values[row] as u64), (values[row] >> 64) as u64)
                });
            }
            _ => {
                let values = column.as_binary::<i32>();
                take_in(hashes, nulls, |h, row| bytes(h, values.value(row)));
            }
        }
    }
}

#[inline]
fn take_in(hashes: &mut [u64], nulls: Option<&NullBuffer>, next: impl Fn(u64, usize) -> u64) {
    match nulls.filter(|n| n.null_count() > 0) {
        None => hashes.iter_mut().enumerate().for_each(|(row, h)| *h = next(*h, row)),
        Some(nulls) => hashes
            .iter_mut()
            .enumerate()
            .for_each(|(row, h)| *h = if nulls.is_valid(row) { next(*h, row) } else { word(*h, NULL) }),
    }
}
