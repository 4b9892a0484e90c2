//! NOW, PROCTIME and the like: the clock, read when they are evaluated, so once for a batch of rows.

use super::calendar::{DAY_MS, offset_at};
use super::field;
use super::scalar::{Binding, Call, Function, Kind};
use arrow::array::ArrayRef;
use arrow::datatypes::*;
use datafusion_common::Result;
use std::cell::Cell;
use std::collections::HashMap;

thread_local! {
    /// Event time of the operator that computes in this thread.
    static WATERMARK: Cell<i64> = const { Cell::new(i64::MIN) };
}

/// Tells CURRENT_WATERMARK, for what this thread evaluates next, the watermark in milliseconds (`i64::MIN` is none).
pub fn set_current_watermark(ms: i64) {
    WATERMARK.set(ms);
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("NOW", &[], ltz, instant).volatile(),
    Function::new("CURRENT_TIMESTAMP", &[], ltz, instant).volatile(),
    Function::new("CURRENT_ROW_TIMESTAMP", &[], ltz, instant).volatile(),
    Function::new("PROCTIME", &[], proctime, instant).volatile(),
    Function::new("LOCALTIMESTAMP", &[], wall, local_timestamp).volatile(),
    Function::new("CURRENT_DATE", &[], date, current_date).volatile(),
    Function::new("CURRENT_TIME", &[], time, local_time).volatile(),
    Function::new("LOCALTIME", &[], time, local_time).volatile(),
    Function::new("CURRENT_WATERMARK", &[Kind::Day], watermark_type, current_watermark).volatile(),
];

fn ltz(_: &Binding<'_>) -> Result<Field> {
    Ok(field::timestamp(3, true, false))
}

fn proctime(_: &Binding<'_>) -> Result<Field> {
    Ok(field::timestamp(3, true, false)
        .with_metadata(HashMap::from([("runnel.time".to_string(), "proctime".to_string())])))
}

fn wall(_: &Binding<'_>) -> Result<Field> {
    Ok(field::timestamp(3, false, false))
}

fn date(_: &Binding<'_>) -> Result<Field> {
    Ok(Field::new("", DataType::Date32, false))
}

fn time(_: &Binding<'_>) -> Result<Field> {
    Ok(field::time0(false))
}

/// Milliseconds on the session's wall clock.
fn wall_ms(call: &Call<'_>) -> i64 {
    let now = call.env.clock.now_ms();
    now.saturating_add(offset_at(call.env.zone, now.div_euclid(1000)) * 1000)
}

fn instant(call: &Call<'_>) -> Result<ArrayRef> {
    let now = call.env.clock.now_ms();
    call.numbers::<TimestampMillisecondType>(|_| Ok(Some(now)))
}

fn watermark_type(b: &Binding<'_>) -> Result<Field> {
    match b.data_type(0) {
        t @ DataType::Timestamp(..) => Ok(field::timestamp(3, field::is_ltz(t), true)),
        _ => b.refuse("it takes an event-time column."),
    }
}

/// NULL before the first watermark.
fn current_watermark(call: &Call<'_>) -> Result<ArrayRef> {
    let ms = WATERMARK.get();
    call.numbers::<TimestampMillisecondType>(|_| Ok((ms != i64::MIN).then_some(ms)))
}

fn local_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let now = wall_ms(call);
    call.numbers::<TimestampMillisecondType>(|_| Ok(Some(now)))
}

fn current_date(call: &Call<'_>) -> Result<ArrayRef> {
    let day = i32::try_from(wall_ms(call).div_euclid(DAY_MS)).unwrap_or(0);
    call.numbers::<Date32Type>(|_| Ok(Some(day)))
}

fn local_time(call: &Call<'_>) -> Result<ArrayRef> {
    let ms = wall_ms(call).rem_euclid(DAY_MS) / 1000 * 1000;
    call.numbers::<Time32MillisecondType>(|_| Ok(Some(ms as i32)))
}
