//! Key groups: the units in which keyed state is spread over tasks, as in Flink.

use super::column::Codec;
use super::hash::hash_rows;
use crate::error::{Error, Result};
use arrow::array::ArrayRef;

/// The key group of each row of `keys`, below `max_parallelism`, into `groups` (cleared first). Stable across
/// versions: `(hash >> 32) % max_parallelism`, with the hash of `state/hash.rs`. Rows with the same key, NULLs
/// included, have the same group.
///
/// Errors: no key columns; a column of a type that cannot be a key.
pub fn key_groups(keys: &[ArrayRef], max_parallelism: usize, groups: &mut Vec<u32>) -> Result<()> {
    let Some(first) = keys.first() else {
        return Err(Error::internal("An exchange by hash has no key columns."));
    };
    let rows = first.len();
    let physical = keys.iter().map(|k| Codec::new(k.data_type())?.encode(k)).collect::<Result<Vec<_>>>()?;
    let mut hashes = Vec::with_capacity(rows);
    hash_rows(&physical, rows, &mut hashes);
    groups.clear();
    groups.extend(hashes.iter().map(|h| of_hash(*h, max_parallelism)));
    Ok(())
}

/// The key group of a key with this hash.
pub(super) fn of_hash(hash: u64, max_parallelism: usize) -> u32 {
    ((hash >> 32) % max_parallelism as u64) as u32
}

/// The task, below `parallelism`, that owns `key_group`: each task owns one range of key groups.
pub fn task_of(key_group: u32, max_parallelism: usize, parallelism: usize) -> usize {
    key_group as usize * parallelism / max_parallelism
}

/// The key groups that `task` owns: those whose [`task_of`] it is.
pub fn groups_of(task: usize, max_parallelism: usize, parallelism: usize) -> std::ops::Range<u32> {
    let first = |task: usize| (task * max_parallelism).div_ceil(parallelism) as u32;
    first(task)..first(task + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn groups(keys: &[ArrayRef]) -> Vec<u32> {
        let mut groups = Vec::new();
        key_groups(keys, 128, &mut groups).unwrap();
        groups
    }

    #[test]
    fn the_hash_never_changes() {
        let texts: ArrayRef =
            Arc::new(StringArray::from(vec![Some(""), Some("a"), Some("été"), Some("a longer key"), None]));
        let longs: ArrayRef =
            Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(-1), Some(i64::MAX), None]));
        expect_test::expect!["[118, 25, 109, 126, 110]"]
            .assert_eq(&format!("{:?}", groups(std::slice::from_ref(&texts))));
        expect_test::expect!["[118, 44, 65, 28, 110]"]
            .assert_eq(&format!("{:?}", groups(std::slice::from_ref(&longs))));
        expect_test::expect!["[39, 14, 109, 107, 44]"].assert_eq(&format!("{:?}", groups(&[texts, longs])));
    }

    #[test]
    fn all_widths_of_integers_agree() {
        let a: ArrayRef = Arc::new(Int32Array::from(vec![1, -5]));
        let b: ArrayRef = Arc::new(Int64Array::from(vec![1, -5]));
        assert_eq!(groups(&[a]), groups(&[b]));
    }

    #[test]
    fn keys_spread_over_all_groups_and_tasks() {
        let keys: [ArrayRef; 3] = [
            Arc::new(Int64Array::from_iter_values(0..10_000)),
            Arc::new(Float64Array::from_iter_values((0..10_000).map(f64::from))),
            Arc::new(Decimal128Array::from_iter_values(0..10_000)),
        ];
        for key in keys {
            let mut counts = [0; 128];
            groups(&[key]).iter().for_each(|g| counts[*g as usize] += 1);
            assert!(counts.iter().all(|c| (40..=120).contains(c)), "{counts:?}");
        }
        let tasks: Vec<usize> = (0..128).map(|g| task_of(g, 128, 3)).collect();
        assert!(tasks.is_sorted() && tasks[0] == 0 && tasks[127] == 2);
        for (max, parallelism) in [(128, 3), (128, 128), (7, 4), (1, 1), (1000, 33)] {
            for task in 0..parallelism {
                let owned: Vec<u32> =
                    (0..max as u32).filter(|g| task_of(*g, max, parallelism) == task).collect();
                assert_eq!(groups_of(task, max, parallelism).collect::<Vec<_>>(), owned);
            }
        }
    }
}
