//! Our own nodes of the logical plan.

mod expand;
mod match_recognize;
mod unnest;
mod versioned;
mod window;

pub use expand::Expand;
pub use match_recognize::{Clauses, Match, MatchExpression, Value};
pub use unnest::{Unnest, element_fields};
pub use versioned::{AS_OF, Versioned, as_of};
pub use window::{GroupWindowCall, Window, WindowColumns, group_window_call, group_window_functions};
