//! LIMIT and OFFSET without ORDER BY.

use super::rows::inserts_only;
use super::{Collector, Operator, OperatorContext};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::LimitNode;
use crate::state::{SnapshotProgress, StateReader, StateWriter};
use arrow::datatypes::SchemaRef;

/// Passes on the first rows that come, then wants no more. Takes inserts only: a row taken away would let
/// another one in, which needs all rows kept.
pub struct Limit {
    skip: u64,
    left: Option<u64>,
}

impl Limit {
    /// Passes on `node.fetch` rows after `node.skip`.
    pub fn new(node: &LimitNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let _ = (input, output);
        Ok(Self { skip: node.skip, left: node.fetch })
    }
}

/// Name of the value that holds how many rows are to be skipped and how many to be passed on, as JSON.
const COUNTERS: &str = "limit";

impl Operator for Limit {
    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        if let Some(text) = state.values(COUNTERS).first() {
            (self.skip, self.left) = serde_json::from_slice(text)
                .map_err(|e| Error::user(format!("The checkpoint's count of LIMIT cannot be read: {e}.")))?;
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let counters =
            serde_json::to_vec(&(self.skip, self.left)).map_err(|e| Error::internal(e.to_string()))?;
        out.value(COUNTERS, counters);
        Ok(SnapshotProgress::Done)
    }

    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        inserts_only(&input, "LIMIT")?;
        let rows = input.num_rows() as u64;
        let skipped = rows.min(self.skip);
        self.skip -= skipped;
        let taken = (rows - skipped).min(self.left.unwrap_or(u64::MAX));
        if let Some(left) = &mut self.left {
            *left -= taken;
        }
        if taken == 0 {
            return Ok(());
        }
        out.emit(input.slice(skipped as usize, taken as usize))
    }

    fn is_done(&self) -> bool {
        self.left == Some(0)
    }
}
