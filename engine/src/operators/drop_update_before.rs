//! `-U` on its way to one who goes by key: left out, or made `-D`.

use super::{Collector, Operator, OperatorContext};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::DropUpdateBeforeNode;
use arrow::array::BooleanArray;

/// Leaves `-U` out, or makes it `-D`. Keeps no state.
pub struct DropUpdateBefore {
    as_delete: bool,
}

impl DropUpdateBefore {
    /// As `node` says.
    pub fn new(node: &DropUpdateBeforeNode) -> Self {
        Self { as_delete: node.as_delete }
    }
}

impl Operator for DropUpdateBefore {
    fn process(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        let Some(kinds) = batch.kinds() else { return out.emit(batch) };
        if self.as_delete {
            let kinds: Vec<RowKind> = kinds
                .iter()
                .map(|k| if *k == RowKind::UpdateBefore { RowKind::Delete } else { *k })
                .collect();
            return out.emit(ChangeBatch::new(batch.into_parts().0, kinds));
        }
        let mask: BooleanArray = kinds.iter().map(|k| Some(*k != RowKind::UpdateBefore)).collect();
        let kept = batch.filter(&mask)?;
        if kept.num_rows() == 0 { Ok(()) } else { out.emit(kept) }
    }
}
