//! Our own nodes of the logical plan.

mod expand;
mod window;

pub use expand::Expand;
pub use window::{GroupWindowCall, Window, WindowColumns, group_window_call, group_window_functions};
