//! Results to text. One form in a file; all of them read cells through [`cells`].

pub mod cells;
pub mod changelog;
pub mod csv;
pub mod error;
pub mod json;
pub mod live;
pub mod materialized;
pub mod tableau;
pub mod template;

use engine::message::ChangeBatch;
use std::io;

/// Writes a running query's rows as they come.
pub trait ResultWriter {
    /// Before the first row.
    fn begin(&mut self) -> io::Result<()>;
    /// Rows.
    fn batch(&mut self, batch: &ChangeBatch) -> io::Result<()>;
    /// After the last row; `interrupted` if the user stopped it.
    fn end(&mut self, interrupted: bool) -> io::Result<()>;
}
