//! VALUES whose rows are of like types: `TIMESTAMP '…'` of unlike precision, texts of unlike length, ROWs of unlike names. All
//! cells of a column are cast to the type that they have in common.

use crate::functions::common_field;
use crate::sql::SqlType;
use arrow::datatypes::{DataType, Field};
use datafusion_common::Result;
use datafusion_sql::sqlparser::ast::{CastKind, Expr, Query, SetExpr, VisitMut, VisitorMut};
use std::ops::ControlFlow;

/// Gives the field of a cell.
pub type FieldOf<'a> = &'a dyn Fn(&Expr) -> Result<Field>;

/// Casts the cells of every VALUES in the query where they are not all of one type. Without `all`, only where a DECIMAL stands
/// beside a DOUBLE, of which DataFusion would make a DECIMAL.
pub fn cast_cells(query: &mut Query, all: bool, field: FieldOf<'_>) {
    struct Cells<'a>(bool, FieldOf<'a>);
    impl VisitorMut for Cells<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            cast_in(&mut query.body, self.0, self.1);
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Cells(all, field));
}

/// More rows than this are left to DataFusion unless it refuses them.
const MAX_ROWS: usize = 1000;

fn cast_in(body: &mut SetExpr, all: bool, field: FieldOf<'_>) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            cast_in(left, all, field);
            cast_in(right, all, field);
        }
        SetExpr::Values(values) if all || (2..=MAX_ROWS).contains(&values.rows.len()) => {
            let width = values.rows.iter().map(|row| row.content.len()).min().unwrap_or(0);
            for column in 0..width {
                let cells = values.rows.iter().map(|row| field(&row.content[column]));
                let Ok(fields) = cells.collect::<Result<Vec<_>>>() else { continue };
                let is = |of: fn(&DataType) -> bool| fields.iter().any(|f| of(f.data_type()));
                let mixed = is(DataType::is_floating) && is(|t| matches!(t, DataType::Decimal128(..)));
                if !(all || mixed) {
                    continue;
                }
                let types: Vec<SqlType> = fields.iter().map(SqlType::of).collect();
                let Some(common) = common_field(&fields).map(|f| SqlType::of(&f)) else { continue };
                for (row, found) in values.rows.iter_mut().zip(types) {
                    if found == common {
                        continue;
                    }
                    let cell = &mut row.content[column];
                    *cell = Expr::Cast {
                        kind: CastKind::Cast,
                        expr: Box::new(cell.clone()),
                        data_type: common.to_ast(),
                        array: false,
                        format: None,
                    };
                }
            }
        }
        _ => {}
    }
}
