//! Random numbers as Java's `Random` draws them, so that seeded ones are Flink's.

use super::field;
use super::scalar::{Binding, Call, Function, Kind, user};
use arrow::array::ArrayRef;
use arrow::datatypes::*;
use datafusion_common::Result;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

const I: Kind = Kind::Integer;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("RAND", &[I], |_| Ok(Field::new("", DataType::Float64, false)), rand)
        .optional(1)
        .volatile(),
    Function::new("RAND_INTEGER", &[I, I], |_| Ok(Field::new("", DataType::Int32, false)), rand_integer)
        .optional(1)
        .volatile(),
    Function::new("UUID", &[], uuid_type, uuid).volatile(),
];

/// Seeds that have a sequence of their own at a time.
const MAX_SEEDS: usize = 1024;

/// The generators of a session: one without a seed, and one for each seed in use.
#[derive(Debug)]
pub(super) struct Chance {
    free: Mutex<JavaRandom>,
    seeded: Mutex<HashMap<i64, JavaRandom>>,
}

impl Chance {
    pub fn new(seed: i64) -> Self {
        Self { free: Mutex::new(JavaRandom::new(seed)), seeded: Mutex::default() }
    }

    fn free(&self) -> MutexGuard<'_, JavaRandom> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seeded<T>(&self, seed: i64, draw: impl FnOnce(&mut JavaRandom) -> T) -> T {
        let mut all = self.seeded.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_SEEDS && !all.contains_key(&seed) {
            all.clear();
        }
        draw(all.entry(seed).or_insert_with(|| JavaRandom::new(seed)))
    }
}

/// The linear congruential generator that java.util.Random documents.
#[derive(Debug, Clone)]
struct JavaRandom(u64);

impl JavaRandom {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;

    fn new(seed: i64) -> Self {
        Self((seed as u64 ^ Self::MULTIPLIER) & Self::MASK)
    }

    fn next(&mut self, bits: u32) -> i32 {
        self.0 = self.0.wrapping_mul(Self::MULTIPLIER).wrapping_add(0xB) & Self::MASK;
        (self.0 >> (48 - bits)) as u32 as i32
    }

    fn double(&mut self) -> f64 {
        let high = (self.next(26) as i64) << 27;
        (high + i64::from(self.next(27))) as f64 * (1.0 / (1_i64 << 53) as f64)
    }

    /// Below `bound`, which must be positive.
    fn below(&mut self, bound: i32) -> i32 {
        let mut r = self.next(31);
        let m = bound - 1;
        if bound & m == 0 {
            return ((i64::from(bound) * i64::from(r)) >> 31) as i32;
        }
        let mut u = r;
        loop {
            r = u % bound;
            if u.wrapping_sub(r).wrapping_add(m) >= 0 {
                return r;
            }
            u = self.next(31);
        }
    }

    fn long(&mut self) -> u64 {
        (u64::from(self.next(32) as u32) << 32) | u64::from(self.next(32) as u32)
    }
}

fn rand(call: &Call<'_>) -> Result<ArrayRef> {
    if call.len() == 0 {
        let mut random = call.env.chance.free();
        return call.numbers::<Float64Type>(|_| Ok(Some(random.double())));
    }
    let seed = call.long(0)?;
    call.numbers::<Float64Type>(|row| {
        let seed = seed.get(row).unwrap_or(0);
        Ok(Some(call.env.chance.seeded(seed, JavaRandom::double)))
    })
}

fn rand_integer(call: &Call<'_>) -> Result<ArrayRef> {
    let seed = if call.len() > 1 { Some(call.long(0)?) } else { None };
    let bound = call.long(call.len() - 1)?;
    call.numbers::<Int32Type>(|row| {
        let bound = bound.get(row).unwrap_or(0);
        let Some(bound) = i32::try_from(bound).ok().filter(|b| *b > 0) else {
            return user(format!("The bound of RAND_INTEGER must be a positive INT, not {bound}."));
        };
        Ok(Some(match &seed {
            None => call.env.chance.free().below(bound),
            Some(s) => call.env.chance.seeded(s.get(row).unwrap_or(0), |r| r.below(bound)),
        }))
    })
}

fn uuid_type(_: &Binding<'_>) -> Result<Field> {
    Ok(field::declare(DataType::Utf8, false, "CHAR(36)"))
}

fn uuid(call: &Call<'_>) -> Result<ArrayRef> {
    let mut random = call.env.chance.free();
    call.texts(|_, out| {
        let high = random.long() & !0xF000 | 0x4000;
        let low = random.long() & !(3 << 62) | (2 << 62);
        let _ = write!(
            out,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xFFFF,
            high & 0xFFFF,
            low >> 48,
            low & 0xFFFF_FFFF_FFFF
        );
        Ok(true)
    })
}
