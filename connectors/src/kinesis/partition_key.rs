//! Partition keys of rows: from the columns of PARTITIONED BY, random, or one for each writer.

use super::options::{Partitioner, SinkOptions};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef};
use engine::connector::{TableContext, WriterContext};
use engine::error::{Error, Result};
use engine::functions::text::write_cast;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Longest partition key, in characters; the service's limit. Longer ones are cut.
pub const MAX_KEY_CHARS: usize = 256;

/// Makes the partition keys of one writer.
#[derive(Debug)]
pub enum PartitionKeys {
    /// Values of columns (index and field), with a delimiter between them.
    Columns {
        /// Indices and fields of the columns.
        columns: Vec<(usize, FieldRef)>,
        /// Stands between two values.
        delimiter: String,
        /// Zone in which TIMESTAMP_LTZ is written.
        zone: chrono_tz::Tz,
    },
    /// Another for each row.
    Random(SmallRng),
    /// The same for all rows.
    Fixed(String),
}

impl PartitionKeys {
    /// Checks that the columns of PARTITIONED BY are there.
    pub fn check(table: &TableContext) -> Result<()> {
        for name in &table.partitioned_by {
            if table.physical.column_with_name(name).is_none() {
                let names = table.physical.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>();
                return Err(Error::user(format!(
                    "PARTITIONED BY names '{name}', which is no physical column."
                ))
                .with_hint(format!("Columns are: {}.", names.join(", "))));
            }
        }
        Ok(())
    }

    /// Keys for one writer. Random ones come from a generator seeded with the job's time and the writer's number.
    pub fn new(table: &TableContext, options: &SinkOptions, context: &WriterContext) -> Result<Self> {
        if table.partitioned_by.is_empty() {
            return Ok(match options.partitioner {
                Partitioner::Fixed => Self::Fixed(context.task.to_string()),
                Partitioner::Random => {
                    let seed = (context.clock.now_ms() as u64).rotate_left(16) ^ context.task as u64;
                    Self::Random(SmallRng::seed_from_u64(seed))
                }
            });
        }
        let column = |name: &String| {
            let found = context.schema.column_with_name(name);
            let (index, _) =
                found.ok_or_else(|| Error::internal(format!("the sink got no column '{name}'")))?;
            Ok((index, context.schema.fields()[index].clone()))
        };
        let columns = table.partitioned_by.iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(Self::Columns { columns, delimiter: options.delimiter.clone(), zone: table.zone })
    }

    /// The key of a row; never empty, since the service takes no empty key.
    pub fn key(&mut self, batch: &RecordBatch, row: usize) -> String {
        let mut key = match self {
            Self::Fixed(key) => key.clone(),
            Self::Random(generator) => format!("{:032x}", generator.random::<u128>()),
            Self::Columns { columns, delimiter, zone } => {
                let mut key = String::new();
                for (i, (index, field)) in columns.iter().enumerate() {
                    if i > 0 {
                        key.push_str(delimiter);
                    }
                    let array = batch.column(*index);
                    match array.data_type() {
                        _ if array.is_null(row) => key.push_str("null"),
                        DataType::Boolean => {
                            key.push_str(if array.as_boolean().value(row) { "true" } else { "false" });
                        }
                        _ => write_cast(&mut key, array.as_ref(), row, field, *zone),
                    }
                }
                key
            }
        };
        if let Some((end, _)) = key.char_indices().nth(MAX_KEY_CHARS) {
            key.truncate(end);
        }
        if key.is_empty() {
            key.push('-');
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn keys_join_the_values_and_are_never_empty_or_too_long() {
        let long = "ä".repeat(300);
        let columns: [(&str, ArrayRef); 3] = [
            ("a", Arc::new(StringArray::from(vec![Some("x"), None, Some(long.as_str())]))),
            ("b", Arc::new(Int64Array::from(vec![7, 8, 9]))),
            ("c", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let schema = batch.schema();
        let all = (0..3).map(|i| (i, schema.fields()[i].clone())).collect();
        let mut keys = PartitionKeys::Columns { columns: all, delimiter: ";".into(), zone: chrono_tz::UTC };
        assert_eq!(keys.key(&batch, 0), "x;7;true");
        assert_eq!(keys.key(&batch, 1), "null;8;false");
        assert_eq!(keys.key(&batch, 2), "ä".repeat(256));
        let empty =
            RecordBatch::try_from_iter([("a", Arc::new(StringArray::from(vec![""])) as ArrayRef)]).unwrap();
        let one = vec![(0, empty.schema().fields()[0].clone())];
        let mut keys = PartitionKeys::Columns { columns: one, delimiter: "|".into(), zone: chrono_tz::UTC };
        assert_eq!(keys.key(&empty, 0), "-");
    }

    #[test]
    fn random_keys_differ_and_repeat_with_their_seed() {
        let batch = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
        let mut one = PartitionKeys::Random(SmallRng::seed_from_u64(1));
        let mut again = PartitionKeys::Random(SmallRng::seed_from_u64(1));
        let first = one.key(&batch, 0);
        assert_eq!(first, again.key(&batch, 0));
        assert_ne!(first, one.key(&batch, 1));
    }
}
