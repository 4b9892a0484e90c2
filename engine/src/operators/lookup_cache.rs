//! `lookup.cache` = `PARTIAL`: answers that are kept for a while, by key.

use super::segments::{RowRef, Segments};
use crate::connector::PartialCache;
use crate::error::Result;
use crate::state::KeyTable;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};

/// Most keys where the options set no number.
const MAX_KEYS: u64 = 1_000_000;
/// No entry.
const NONE: u32 = u32::MAX;

/// The rows of keys that were asked for, at most so many keys; the one that was not used for longest goes first.
pub(super) struct LookupCache {
    limits: PartialCache,
    keys: KeyTable,
    entries: Vec<Entry>,
    rows: Segments,
    /// The entry that was used last, and the one that was not used for longest.
    newest: u32,
    oldest: u32,
    swept_ms: i64,
}

#[derive(Clone)]
struct Entry {
    rows: Vec<RowRef>,
    written_ms: i64,
    used_ms: i64,
    newer: u32,
    older: u32,
}

/// What the cache knows of keys.
pub(super) struct Cached {
    /// For each key, where its rows begin and end; `None` if it is not known.
    pub ranges: Vec<Option<(usize, usize)>>,
    /// The rows of all known keys.
    pub rows: RecordBatch,
}

impl LookupCache {
    /// Keys of `types`, rows of `schema`.
    ///
    /// Errors: a type that cannot be a key.
    pub(super) fn new(limits: PartialCache, types: &[DataType], schema: SchemaRef) -> Result<Self> {
        Ok(Self {
            limits,
            keys: KeyTable::new(types)?,
            entries: Vec::new(),
            rows: Segments::new(schema),
            newest: NONE,
            oldest: NONE,
            swept_ms: 0,
        })
    }

    /// What is known of each of `count` keys at `now_ms`.
    pub(super) fn get(&mut self, keys: &[ArrayRef], count: usize, now_ms: i64) -> Result<Cached> {
        self.sweep(now_ms);
        let mut found = Vec::new();
        let mut ranges = Vec::with_capacity(count);
        for group in self.keys.find(keys, count)? {
            let Some(group) = group.filter(|g| !self.is_expired(*g, now_ms)) else {
                ranges.push(None);
                continue;
            };
            self.unlink(group);
            self.link(group);
            let entry = &mut self.entries[group as usize];
            entry.used_ms = now_ms;
            let from = found.len();
            found.extend_from_slice(&entry.rows);
            ranges.push(Some((from, found.len())));
        }
        Ok(Cached { ranges, rows: self.rows.rows(&found)? })
    }

    /// Keeps the answer for `keys`: row i of `rows` belongs to key `key_of[i]`.
    pub(super) fn put(
        &mut self,
        keys: &[ArrayRef],
        count: usize,
        rows: &RecordBatch,
        key_of: &[u32],
        now_ms: i64,
    ) -> Result<()> {
        let mut of_key: Vec<Vec<u32>> = vec![Vec::new(); count];
        key_of.iter().enumerate().for_each(|(row, key)| of_key[*key as usize].push(row as u32));
        let kept: Vec<u32> = (0..count as u32)
            .filter(|key| self.limits.missing_keys || !of_key[*key as usize].is_empty())
            .collect();
        let picks = UInt32Array::from(kept.clone());
        let columns = keys.iter().map(|k| Ok(take(k, &picks, None)?)).collect::<Result<Vec<_>>>()?;
        let mut groups = Vec::new();
        self.keys.intern(&columns, kept.len(), &mut groups)?;
        let entry = Entry { rows: Vec::new(), written_ms: 0, used_ms: 0, newer: NONE, older: NONE };
        self.entries.resize(self.keys.slots().max(self.entries.len()), entry);
        // All rows belong to kept keys, so the segment goes when its last key goes.
        let segment = (rows.num_rows() > 0).then(|| self.rows.add(rows.clone()));
        for (group, key) in groups.into_iter().zip(kept) {
            self.forget_rows(group);
            self.unlink(group);
            self.link(group);
            let entry = &mut self.entries[group as usize];
            (entry.written_ms, entry.used_ms) = (now_ms, now_ms);
            if let Some(segment) = segment {
                entry.rows = of_key[key as usize].iter().map(|r| segment.row(*r as usize)).collect();
            }
        }
        let most = self.limits.max_keys.unwrap_or(MAX_KEYS) as usize;
        while self.keys.len() > most && self.oldest != NONE {
            self.forget(self.oldest);
        }
        Ok(())
    }

    /// Bytes held, estimated.
    pub(super) fn size(&self) -> usize {
        self.rows.size() + self.keys.size() + self.entries.capacity() * size_of::<Entry>()
    }

    fn is_expired(&self, group: u32, now_ms: i64) -> bool {
        let entry = &self.entries[group as usize];
        let is_over = |limit: Option<u64>, since: i64| limit.is_some_and(|ms| now_ms - since >= ms as i64);
        is_over(self.limits.expire_after_write_ms, entry.written_ms)
            || is_over(self.limits.expire_after_access_ms, entry.used_ms)
    }

    /// Forgets what is too old, now and then.
    fn sweep(&mut self, now_ms: i64) {
        let limits = [self.limits.expire_after_write_ms, self.limits.expire_after_access_ms];
        let Some(shortest) = limits.into_iter().flatten().min() else { return };
        if now_ms - self.swept_ms < shortest as i64 {
            return;
        }
        self.swept_ms = now_ms;
        let old: Vec<u32> = self.keys.groups().filter(|g| self.is_expired(*g, now_ms)).collect();
        old.into_iter().for_each(|group| self.forget(group));
    }

    fn forget(&mut self, group: u32) {
        self.forget_rows(group);
        self.unlink(group);
        self.keys.remove([group]);
    }

    fn forget_rows(&mut self, group: u32) {
        for row in std::mem::take(&mut self.entries[group as usize].rows) {
            self.rows.release(row);
        }
    }

    /// Takes the entry out of the order of use, if it is in it.
    fn unlink(&mut self, group: u32) {
        let Entry { newer, older, .. } = self.entries[group as usize];
        if newer == NONE && self.newest != group {
            return;
        }
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
        let entry = &mut self.entries[group as usize];
        (entry.newer, entry.older) = (NONE, NONE);
    }

    /// Makes the entry the one that was used last.
    fn link(&mut self, group: u32) {
        let older = std::mem::replace(&mut self.newest, group);
        let entry = &mut self.entries[group as usize];
        (entry.newer, entry.older) = (NONE, older);
        match older {
            NONE => self.oldest = group,
            older => self.entries[older as usize].newer = group,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use std::sync::Arc;

    fn cache(limits: PartialCache) -> LookupCache {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
        LookupCache::new(limits, &[DataType::Utf8], schema).unwrap()
    }

    fn limits(max_keys: u64) -> PartialCache {
        PartialCache {
            max_keys: Some(max_keys),
            expire_after_write_ms: None,
            expire_after_access_ms: None,
            missing_keys: true,
        }
    }

    fn keys(names: &[&str]) -> Vec<ArrayRef> {
        vec![Arc::new(StringArray::from(names.to_vec()))]
    }

    fn put(cache: &mut LookupCache, names: &[&str], rows: &[(u32, i64)], now_ms: i64) {
        let values = Int64Array::from_iter_values(rows.iter().map(|r| r.1));
        let rows_of = RecordBatch::try_new(cache.rows.schema().clone(), vec![Arc::new(values)]).unwrap();
        let key_of: Vec<u32> = rows.iter().map(|r| r.0).collect();
        cache.put(&keys(names), names.len(), &rows_of, &key_of, now_ms).unwrap();
    }

    /// The values of each key; `None` where it is not known.
    fn get(cache: &mut LookupCache, names: &[&str], now_ms: i64) -> Vec<Option<Vec<i64>>> {
        let cached = cache.get(&keys(names), names.len(), now_ms).unwrap();
        let values = cached.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        cached.ranges.iter().map(|r| r.map(|(from, to)| values[from..to].to_vec())).collect()
    }

    #[test]
    fn keys_without_rows_are_known_too_if_that_is_wanted() {
        let mut all = cache(limits(10));
        put(&mut all, &["a", "b"], &[(0, 1), (0, 2)], 0);
        assert_eq!(get(&mut all, &["a", "b", "c"], 1), [Some(vec![1, 2]), Some(vec![]), None]);
        let mut found = cache(PartialCache { missing_keys: false, ..limits(10) });
        put(&mut found, &["a", "b"], &[(0, 1)], 0);
        assert_eq!(get(&mut found, &["a", "b"], 1), [Some(vec![1]), None]);
    }

    #[test]
    fn the_key_that_was_not_used_for_longest_goes() {
        let mut cache = cache(limits(2));
        put(&mut cache, &["a"], &[(0, 1)], 0);
        put(&mut cache, &["b"], &[(0, 2)], 0);
        assert_eq!(get(&mut cache, &["a"], 0), [Some(vec![1])]);
        put(&mut cache, &["c"], &[(0, 3)], 0);
        assert_eq!(get(&mut cache, &["a", "b", "c"], 0), [Some(vec![1]), None, Some(vec![3])]);
        put(&mut cache, &["a", "b", "c", "d"], &[(3, 4)], 0);
        assert_eq!(cache.keys.len(), 2);
        assert_eq!(get(&mut cache, &["d"], 0), [Some(vec![4])]);
    }

    #[test]
    fn entries_grow_old_from_when_they_were_written_or_used() {
        let mut written = cache(PartialCache { expire_after_write_ms: Some(10), ..limits(10) });
        put(&mut written, &["a"], &[(0, 1)], 100);
        assert_eq!(get(&mut written, &["a"], 109), [Some(vec![1])]);
        assert_eq!(get(&mut written, &["a"], 110), [None]);
        put(&mut written, &["a"], &[(0, 2)], 110);
        assert_eq!(get(&mut written, &["a"], 111), [Some(vec![2])]);
        let mut used = cache(PartialCache { expire_after_access_ms: Some(10), ..limits(10) });
        put(&mut used, &["a"], &[(0, 1)], 100);
        assert_eq!(get(&mut used, &["a"], 109), [Some(vec![1])]);
        assert_eq!(get(&mut used, &["a"], 118), [Some(vec![1])]);
        assert_eq!(get(&mut used, &["a"], 128), [None]);
        assert_eq!(used.rows.size(), 0, "rows that nobody can find are not kept");
    }
}
