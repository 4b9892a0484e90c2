//! Our own nodes of the logical plan.

mod window;

pub use window::{GroupWindowCall, Window, WindowColumns, group_window_call, group_window_functions};
