//! `ChangelogMode`: which row kinds a node may emit.

use std::fmt;

/// Which row kinds besides `+I` a stream may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChangelogMode {
    /// `-U`
    pub update_before: bool,
    /// `+U`
    pub update_after: bool,
    /// `-D`
    pub delete: bool,
}

impl ChangelogMode {
    /// Inserts only.
    pub const APPEND: Self = Self { update_before: false, update_after: false, delete: false };
    /// All four kinds.
    pub const RETRACT: Self = Self { update_before: true, update_after: true, delete: true };
    /// Updates by key: `+U` without `-U`, and deletes.
    pub const UPSERT: Self = Self { update_before: false, update_after: true, delete: true };

    /// Whether only inserts may come.
    pub fn is_append(self) -> bool {
        self == Self::APPEND
    }
}

/// As Flink's EXPLAIN prints it: `[I,UB,UA,D]`.
impl fmt::Display for ChangelogMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[I")?;
        for (on, name) in [(self.update_before, ",UB"), (self.update_after, ",UA"), (self.delete, ",D")] {
            if on {
                f.write_str(name)?;
            }
        }
        write!(f, "]")
    }
}
