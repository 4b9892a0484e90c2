//! Few physical forms for many column types, so that keys and aggregates need little code for each.

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalUnit};
use arrow::row::{RowConverter, SortField};
use std::sync::Arc;

/// How values of a column are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Physical {
    /// `Int32Array`: BOOLEAN, integers up to 32 bits, dates, times of 32 bits.
    I32,
    /// `Int64Array`: BIGINT, timestamps, times of 64 bits.
    I64,
    /// `Float32Array`
    F32,
    /// `Float64Array`
    F64,
    /// `Decimal128Array` of any precision and scale.
    I128,
    /// `BinaryArray`: texts and bytes; and nested types in arrow's row format.
    Bytes,
}

/// Turns columns of one type into their physical form and back.
#[derive(Debug, Clone)]
pub(crate) struct Codec {
    data_type: DataType,
    physical: Physical,
    rows: Option<Arc<RowConverter>>,
}

impl Codec {
    /// For columns of `data_type`.
    ///
    /// Errors: a type that cannot be kept in state.
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        use DataType as D;
        let physical = match data_type {
            D::Null | D::Boolean | D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16 => Physical::I32,
            D::Date32 | D::Time32(_) | D::Interval(IntervalUnit::YearMonth) => Physical::I32,
            D::Int64 | D::UInt32 | D::UInt64 | D::Date64 => Physical::I64,
            D::Time64(_) | D::Timestamp(..) | D::Duration(_) => Physical::I64,
            D::Float32 => Physical::F32,
            D::Float64 => Physical::F64,
            D::Decimal128(..) => Physical::I128,
            _ => Physical::Bytes,
        };
        let plain = matches!(
            data_type,
            D::Utf8 | D::Binary | D::LargeUtf8 | D::LargeBinary | D::Utf8View | D::BinaryView
        );
        let rows = if physical == Physical::Bytes && !plain {
            let field = SortField::new(data_type.clone());
            if !RowConverter::supports_fields(std::slice::from_ref(&field)) {
                return Err(Error::unsupported(
                    format!("A key or aggregated value of the type {data_type}"),
                    "Use one of its fields or elements, or CAST it to STRING.",
                ));
            }
            Some(Arc::new(RowConverter::new(vec![field])?))
        } else {
            None
        };
        Ok(Self { data_type: data_type.clone(), physical, rows })
    }

    /// Their physical form.
    pub(crate) fn physical(&self) -> Physical {
        self.physical
    }

    /// The physical form of `array`, with the same nulls.
    pub(crate) fn encode(&self, array: &ArrayRef) -> Result<ArrayRef> {
        use DataType as D;
        let cast_first;
        let array = if array.data_type() == &self.data_type {
            array
        } else {
            cast_first = cast(array, &self.data_type)?;
            &cast_first
        };
        Ok(match (&self.data_type, self.physical) {
            (D::Null, _) => new_null_array(&D::Int32, array.len()),
            (D::Int32 | D::Int64 | D::Float32 | D::Float64 | D::Binary | D::Decimal128(..), _) => {
                array.clone()
            }
            (D::Boolean | D::Int8 | D::Int16 | D::UInt8 | D::UInt16, _) => cast(array, &D::Int32)?,
            (D::UInt32, _) => cast(array, &D::Int64)?,
            (_, Physical::I32) => relabel(array, D::Int32)?,
            (_, Physical::I64) => relabel(array, D::Int64)?,
            (D::Utf8, _) => Arc::new(BinaryArray::from(array.as_string::<i32>().clone())),
            (D::LargeUtf8 | D::LargeBinary | D::Utf8View | D::BinaryView, _) => cast(array, &D::Binary)?,
            _ => {
                let Some(rows) = &self.rows else {
                    return Err(Error::internal(format!("No physical form for {}.", self.data_type)));
                };
                let encoded = rows.convert_columns(std::slice::from_ref(array))?.try_into_binary()?;
                let (offsets, values, _) = encoded.into_parts();
                Arc::new(BinaryArray::new(offsets, values, array.logical_nulls()))
            }
        })
    }

    /// The column whose physical form is `array`.
    pub(crate) fn decode(&self, array: ArrayRef) -> Result<ArrayRef> {
        use DataType as D;
        Ok(match (&self.data_type, self.physical) {
            (D::Null, _) => new_null_array(&D::Null, array.len()),
            (D::Int32 | D::Int64 | D::Float32 | D::Float64 | D::Binary, _) => array,
            (D::Decimal128(p, s), _) => {
                let values = array.as_primitive::<arrow::datatypes::Decimal128Type>().clone();
                Arc::new(values.with_data_type(D::Decimal128(*p, *s)))
            }
            (D::Boolean | D::Int8 | D::Int16 | D::UInt8 | D::UInt16 | D::UInt32, _) => {
                cast(&array, &self.data_type)?
            }
            (_, Physical::I32 | Physical::I64) => relabel(&array, self.data_type.clone())?,
            (D::Utf8, _) => {
                Arc::new(arrow::array::StringArray::try_from_binary(array.as_binary::<i32>().clone())?)
            }
            (D::LargeUtf8 | D::LargeBinary | D::Utf8View | D::BinaryView, _) => {
                cast(&cast(&array, &D::Utf8)?, &self.data_type)?
            }
            _ => {
                let Some(rows) = &self.rows else {
                    return Err(Error::internal(format!("No way back to {}.", self.data_type)));
                };
                self.decode_rows(rows, array.as_binary::<i32>())?
            }
        })
    }

    fn decode_rows(&self, rows: &RowConverter, array: &BinaryArray) -> Result<ArrayRef> {
        let parser = rows.parser();
        // A NULL has no bytes here; any encoded row stands in for it and is masked by the converter's own NULL.
        let null = rows.convert_columns(&[new_null_array(&self.data_type, 1)])?;
        let parsed = array.iter().map(|row| match row {
            Some(bytes) => parser.parse(bytes),
            None => null.row(0),
        });
        let mut columns = rows.convert_rows(parsed)?;
        columns.pop().ok_or_else(|| Error::internal("Arrow's row format gave no column back."))
    }
}

/// The same values under another type of the same layout.
pub(super) fn relabel(array: &ArrayRef, data_type: DataType) -> Result<ArrayRef> {
    let data = array.to_data().into_builder().data_type(data_type).build()?;
    Ok(arrow::array::make_array(data))
}
