//! Guards round every operator, in debug builds: schemas match, watermarks grow, nothing follows the end, a
//! barrier is seen once.

use crate::error::{Error, Result};
use crate::message::{Barrier, ChangeBatch};
use crate::time::Watermark;
use arrow::datatypes::SchemaRef;

/// What has gone out of one operator.
#[derive(Debug)]
pub(super) struct Check {
    schema: SchemaRef,
    watermark: Watermark,
    checkpoint: Option<u64>,
    ended: bool,
}

impl Check {
    /// For an operator whose rows have `schema`.
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, watermark: Watermark::MIN, checkpoint: None, ended: false }
    }

    /// Rows go out.
    pub(super) fn batch(&self, batch: &ChangeBatch) -> Result<()> {
        if !cfg!(debug_assertions) {
            return Ok(());
        }
        self.open("rows")?;
        let schema = batch.records().schema();
        let same = schema.fields().len() == self.schema.fields().len()
            && schema
                .fields()
                .iter()
                .zip(self.schema.fields())
                .all(|(a, b)| a.data_type().equals_datatype(b.data_type()));
        if same {
            return Ok(());
        }
        let types = |s: &SchemaRef| {
            s.fields()
                .iter()
                .map(|f| format!("{} {}", f.name(), f.data_type()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        Err(Error::internal(format!(
            "The plan promises columns ({}), but ({}) came.",
            types(&self.schema),
            types(&schema)
        )))
    }

    /// A watermark goes out; the current one may be told again.
    pub(super) fn watermark(&mut self, watermark: Watermark) -> Result<()> {
        self.open("a watermark")?;
        if watermark < self.watermark {
            return Err(Error::internal(format!(
                "The watermark went back from {} to {watermark}.",
                self.watermark
            )));
        }
        self.watermark = watermark;
        Ok(())
    }

    /// A barrier goes out.
    pub(super) fn barrier(&mut self, barrier: Barrier) -> Result<()> {
        self.open("a barrier")?;
        if self.checkpoint >= Some(barrier.checkpoint_id) {
            return Err(Error::internal(format!(
                "The barrier of checkpoint {} came twice.",
                barrier.checkpoint_id
            )));
        }
        self.checkpoint = Some(barrier.checkpoint_id);
        Ok(())
    }

    /// The end goes out.
    pub(super) fn end(&mut self) -> Result<()> {
        self.open("an end")?;
        self.ended = true;
        Ok(())
    }

    fn open(&self, what: &str) -> Result<()> {
        if self.ended && cfg!(debug_assertions) {
            return Err(Error::internal(format!("After the end, {what} came.")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::BarrierKind;
    use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    #[test]
    fn broken_promises_are_told() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let mut check = Check::new(schema);
        let batch =
            |column: ArrayRef| ChangeBatch::inserts(RecordBatch::try_from_iter([("x", column)]).unwrap());
        check.batch(&batch(Arc::new(Int64Array::from(vec![1])))).unwrap();
        let error = check.batch(&batch(Arc::new(Int32Array::from(vec![1])))).unwrap_err();
        assert_eq!(error.message(), "The plan promises columns (a Int64), but (x Int32) came.");
        check.watermark(Watermark(5)).unwrap();
        check.watermark(Watermark(5)).unwrap();
        assert!(check.watermark(Watermark(4)).is_err());
        let barrier = Barrier { checkpoint_id: 1, triggered_at_ms: 0, kind: BarrierKind::Savepoint };
        check.barrier(barrier).unwrap();
        assert!(check.barrier(barrier).is_err());
        check.end().unwrap();
        assert!(check.watermark(Watermark(6)).is_err());
    }
}
