//! Our own nodes of the logical plan.

mod expand;
mod hinted;
mod match_recognize;
mod unnest;
mod versioned;
mod window;

pub use expand::Expand;
pub use hinted::{Hinted, state_ttl};
pub use match_recognize::{Clauses, Match, MatchExpression, Value};
pub use unnest::{Unnest, element_fields};
pub use versioned::{AS_OF, AS_OF_PROCTIME, Versioned, as_of, as_of_proctime};
pub use window::{GroupWindowCall, Window, WindowColumns, group_window_call, group_window_functions};
