//! `KeyTable`: keys of any column types to dense group indexes, batch by batch.

use super::bits::Bits;
use super::column::{Codec, Physical, relabel};
use super::hash::hash_rows;
use crate::error::Result;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Decimal128Array, Int32Array, Int64Array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Decimal128Type, Int32Type, Int64Type};
use hashbrown::HashTable;
use std::sync::Arc;

/// Bytes of removed keys that are kept before the texts of a column are packed anew.
const GARBAGE_BYTES: usize = 1 << 16;

/// The keys seen so far, each with a group index. NULL is a key like any other. Indexes of removed keys are
/// given to new ones, so arrays beside the table stay dense. With no key columns, all rows are of one group.
#[derive(Debug)]
pub struct KeyTable {
    codecs: Vec<Codec>,
    columns: Vec<KeyColumn>,
    hashes: Vec<u64>,
    live: Bits,
    free: Vec<u32>,
    table: HashTable<u32>,
    scratch: Vec<u64>,
    /// Groups that the last `intern` has given to new keys.
    added: Vec<u32>,
}

impl KeyTable {
    /// An empty table for keys with columns of these types.
    ///
    /// Errors: a type that cannot be a key.
    pub fn new(types: &[DataType]) -> Result<Self> {
        let codecs = types.iter().map(Codec::new).collect::<Result<Vec<_>>>()?;
        Ok(Self::with_codecs(codecs))
    }

    /// An empty table for the same types.
    pub fn new_like(&self) -> Self {
        Self::with_codecs(self.codecs.clone())
    }

    fn with_codecs(codecs: Vec<Codec>) -> Self {
        let columns = codecs.iter().map(|c| KeyColumn::new(c.physical())).collect();
        Self {
            codecs,
            columns,
            hashes: Vec::new(),
            live: Bits::default(),
            free: Vec::new(),
            table: HashTable::new(),
            scratch: Vec::new(),
            added: Vec::new(),
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// One more than the greatest group index ever given: the length for arrays beside the table.
    pub fn slots(&self) -> usize {
        self.hashes.len()
    }

    /// Number of key columns.
    pub fn width(&self) -> usize {
        self.codecs.len()
    }

    /// Group indexes in use, ascending.
    pub fn groups(&self) -> impl Iterator<Item = u32> + '_ {
        self.live.iter_from(0)
    }

    /// Group indexes in use.
    pub(super) fn live(&self) -> &Bits {
        &self.live
    }

    /// The groups of keys that the last `intern` saw for the first time, each once.
    pub(super) fn added(&self) -> &[u32] {
        &self.added
    }

    /// The hash of each of `groups`: see `state/hash.rs`.
    pub fn hashes<'a>(&'a self, groups: &'a [u32]) -> impl Iterator<Item = u64> + 'a {
        groups.iter().map(|g| self.hashes[*g as usize])
    }

    /// The group of each of `rows` rows of `keys` into `groups` (cleared first); new keys get new groups.
    pub fn intern(&mut self, keys: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<()> {
        groups.clear();
        groups.reserve(rows);
        self.added.clear();
        let physical = self.encode(keys)?;
        let mut hashes = std::mem::take(&mut self.scratch);
        hash_rows(&physical, rows, &mut hashes);
        let views: Vec<View<'_>> = physical.iter().map(View::new).collect();
        match &views[..] {
            [View::I64(values, None)] => self.intern_rows(&views, &hashes, groups, |columns, group, row| {
                matches!(&columns[0], KeyColumn::I64(c) if c.equals(group, values[row]))
            }),
            [View::I32(values, None)] => self.intern_rows(&views, &hashes, groups, |columns, group, row| {
                matches!(&columns[0], KeyColumn::I32(c) if c.equals(group, values[row]))
            }),
            [View::I64(a, None), View::I64(b, None)] => {
                self.intern_rows(&views, &hashes, groups, |columns, group, row| match columns {
                    [KeyColumn::I64(x), KeyColumn::I64(y)] => {
                        x.equals(group, a[row]) && y.equals(group, b[row])
                    }
                    _ => false,
                })
            }
            [View::I32(a, None), View::I64(b, None)] => {
                self.intern_rows(&views, &hashes, groups, |columns, group, row| match columns {
                    [KeyColumn::I32(x), KeyColumn::I64(y)] => {
                        x.equals(group, a[row]) && y.equals(group, b[row])
                    }
                    _ => false,
                })
            }
            _ => self.intern_rows(&views, &hashes, groups, |columns, group, row| {
                columns.iter().zip(&views).all(|(column, view)| column.equals(group, view, row))
            }),
        }
        self.scratch = hashes;
        Ok(())
    }

    /// The group here of each of `groups` of `other`, a table of the same types, into `into` (cleared first). As
    /// `intern` of its keys, without hashing them again.
    pub fn intern_table(&mut self, other: &KeyTable, groups: &[u32], into: &mut Vec<u32>) {
        into.clear();
        into.reserve(groups.len());
        for from in groups {
            let from = *from as usize;
            let hash = other.hashes[from];
            let same = |group: &u32| {
                let group = *group as usize;
                self.hashes[group] == hash
                    && self
                        .columns
                        .iter()
                        .zip(&other.columns)
                        .all(|(mine, theirs)| mine.same(group, theirs, from))
            };
            let group = match self.table.find(hash, same) {
                Some(group) => *group,
                None => {
                    let group = self.place(hash);
                    for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
                        mine.copy(group as usize, theirs, from);
                    }
                    group
                }
            };
            into.push(group);
        }
    }

    /// Finds the groups of keys that are known; `None` for others.
    pub fn find(&self, keys: &[ArrayRef], rows: usize) -> Result<Vec<Option<u32>>> {
        let physical = self.encode(keys)?;
        let mut hashes = Vec::new();
        hash_rows(&physical, rows, &mut hashes);
        let views: Vec<View<'_>> = physical.iter().map(View::new).collect();
        let find = |(row, hash): (usize, &u64)| {
            let same = |group: &u32| {
                self.hashes[*group as usize] == *hash
                    && self.columns.iter().zip(&views).all(|(c, view)| c.equals(*group as usize, view, row))
            };
            self.table.find(*hash, same).copied()
        };
        Ok(hashes.iter().enumerate().map(find).collect())
    }

    fn encode(&self, keys: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let encode = |(codec, key): (&Codec, &ArrayRef)| {
            let array = codec.encode(key)?;
            // Keys are compared by their bits.
            Ok(match array.data_type() {
                DataType::Float32 => relabel(&array, DataType::Int32)?,
                DataType::Float64 => relabel(&array, DataType::Int64)?,
                _ => array,
            })
        };
        self.codecs.iter().zip(keys).map(encode).collect()
    }

    #[inline]
    fn intern_rows(
        &mut self,
        views: &[View<'_>],
        hashes: &[u64],
        groups: &mut Vec<u32>,
        equals: impl Fn(&[KeyColumn], usize, usize) -> bool,
    ) {
        for (row, hash) in hashes.iter().enumerate() {
            let same = |group: &u32| {
                self.hashes[*group as usize] == *hash && equals(&self.columns, *group as usize, row)
            };
            let group = match self.table.find(*hash, same) {
                Some(group) => *group,
                None => self.add(views, row, *hash),
            };
            groups.push(group);
        }
    }

    #[cold]
    fn add(&mut self, views: &[View<'_>], row: usize, hash: u64) -> u32 {
        let group = self.place(hash);
        self.added.push(group);
        for (column, view) in self.columns.iter_mut().zip(views) {
            column.set(group as usize, view, row);
        }
        group
    }

    /// A group index for a new key, whose columns are to be set next.
    fn place(&mut self, hash: u64) -> u32 {
        let group = match self.free.pop() {
            Some(group) => {
                self.hashes[group as usize] = hash;
                group
            }
            None => {
                self.hashes.push(hash);
                (self.hashes.len() - 1) as u32
            }
        };
        self.live.insert(group);
        let hashes = &self.hashes;
        self.table.insert_unique(hash, group, |g| hashes[*g as usize]);
        group
    }

    /// Forgets these groups; indexes that are not in use are ignored.
    pub fn remove(&mut self, groups: impl IntoIterator<Item = u32>) {
        for group in groups {
            let slot = group as usize;
            if !self.live.remove(group) {
                continue;
            }
            if let Ok(entry) = self.table.find_entry(self.hashes[slot], |g| *g == group) {
                entry.remove();
            }
            self.columns.iter_mut().for_each(|c| c.forget(slot));
            self.free.push(group);
        }
        self.columns.iter_mut().for_each(KeyColumn::pack);
    }

    /// The keys of `groups` as columns.
    pub fn keys(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.codecs
            .iter()
            .zip(&self.columns)
            .map(|(codec, column)| self.decode(codec, column, groups))
            .collect()
    }

    /// Columns `which` of the keys of `groups`.
    pub fn columns(&self, groups: &[u32], which: &[usize]) -> Result<Vec<ArrayRef>> {
        which.iter().map(|i| self.decode(&self.codecs[*i], &self.columns[*i], groups)).collect()
    }

    fn decode(&self, codec: &Codec, column: &KeyColumn, groups: &[u32]) -> Result<ArrayRef> {
        let array = column.take(groups);
        codec.decode(match codec.physical() {
            Physical::F32 => relabel(&array, DataType::Float32)?,
            Physical::F64 => relabel(&array, DataType::Float64)?,
            _ => array,
        })
    }

    /// Bytes held, estimated: what was reserved and never used takes no memory.
    pub fn size(&self) -> usize {
        let columns: usize = self.columns.iter().map(KeyColumn::size).sum();
        columns + self.hashes.len() * 8 + self.live.size() + self.free.len() * 4 + self.table.capacity() * 6
    }
}

/// A key column of a batch.
enum View<'a> {
    I32(&'a [i32], Option<&'a NullBuffer>),
    I64(&'a [i64], Option<&'a NullBuffer>),
    I128(&'a [i128], Option<&'a NullBuffer>),
    Bytes(&'a BinaryArray, Option<&'a NullBuffer>),
}

impl<'a> View<'a> {
    fn new(array: &'a ArrayRef) -> Self {
        let nulls = array.nulls().filter(|n| n.null_count() > 0);
        match array.data_type() {
            DataType::Int32 => Self::I32(array.as_primitive::<Int32Type>().values(), nulls),
            DataType::Int64 => Self::I64(array.as_primitive::<Int64Type>().values(), nulls),
            DataType::Decimal128(..) => Self::I128(array.as_primitive::<Decimal128Type>().values(), nulls),
            _ => Self::Bytes(array.as_binary::<i32>(), nulls),
        }
    }
}

fn is_null(nulls: &Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_some_and(|n| n.is_null(row))
}

/// A column of the keys seen, indexed by group.
#[derive(Debug)]
enum KeyColumn {
    I32(Fixed<i32>),
    I64(Fixed<i64>),
    I128(Fixed<i128>),
    Bytes(Texts),
}

impl KeyColumn {
    fn new(physical: Physical) -> Self {
        match physical {
            Physical::I32 | Physical::F32 => Self::I32(Fixed::default()),
            Physical::I64 | Physical::F64 => Self::I64(Fixed::default()),
            Physical::I128 => Self::I128(Fixed::default()),
            Physical::Bytes => Self::Bytes(Texts::default()),
        }
    }

    #[inline]
    fn equals(&self, group: usize, view: &View<'_>, row: usize) -> bool {
        match (self, view) {
            (Self::I32(c), View::I32(v, None)) => c.equals(group, v[row]),
            (Self::I64(c), View::I64(v, None)) => c.equals(group, v[row]),
            (Self::I32(c), View::I32(v, n)) => c.get(group) == (!is_null(n, row)).then(|| v[row]),
            (Self::I64(c), View::I64(v, n)) => c.get(group) == (!is_null(n, row)).then(|| v[row]),
            (Self::I128(c), View::I128(v, n)) => c.get(group) == (!is_null(n, row)).then(|| v[row]),
            (Self::Bytes(c), View::Bytes(v, n)) => c.get(group) == (!is_null(n, row)).then(|| v.value(row)),
            _ => false,
        }
    }

    fn set(&mut self, group: usize, view: &View<'_>, row: usize) {
        match (self, view) {
            (Self::I32(c), View::I32(v, n)) => c.set(group, (!is_null(n, row)).then(|| v[row])),
            (Self::I64(c), View::I64(v, n)) => c.set(group, (!is_null(n, row)).then(|| v[row])),
            (Self::I128(c), View::I128(v, n)) => c.set(group, (!is_null(n, row)).then(|| v[row])),
            (Self::Bytes(c), View::Bytes(v, n)) => c.set(group, (!is_null(n, row)).then(|| v.value(row))),
            _ => {}
        }
    }

    #[inline]
    fn same(&self, group: usize, other: &Self, theirs: usize) -> bool {
        match (self, other) {
            (Self::I32(a), Self::I32(b)) => a.get(group) == b.get(theirs),
            (Self::I64(a), Self::I64(b)) => a.get(group) == b.get(theirs),
            (Self::I128(a), Self::I128(b)) => a.get(group) == b.get(theirs),
            (Self::Bytes(a), Self::Bytes(b)) => a.get(group) == b.get(theirs),
            _ => false,
        }
    }

    fn copy(&mut self, group: usize, other: &Self, theirs: usize) {
        match (self, other) {
            (Self::I32(a), Self::I32(b)) => a.set(group, b.get(theirs)),
            (Self::I64(a), Self::I64(b)) => a.set(group, b.get(theirs)),
            (Self::I128(a), Self::I128(b)) => a.set(group, b.get(theirs)),
            (Self::Bytes(a), Self::Bytes(b)) => a.set(group, b.get(theirs)),
            _ => {}
        }
    }

    fn forget(&mut self, group: usize) {
        if let Self::Bytes(texts) = self {
            texts.set(group, None);
        }
    }

    fn pack(&mut self) {
        if let Self::Bytes(texts) = self {
            texts.pack();
        }
    }

    fn take(&self, groups: &[u32]) -> ArrayRef {
        match self {
            Self::I32(c) => {
                let (values, nulls) = c.take(groups);
                Arc::new(Int32Array::new(values, nulls))
            }
            Self::I64(c) => {
                let (values, nulls) = c.take(groups);
                Arc::new(Int64Array::new(values, nulls))
            }
            Self::I128(c) => {
                let (values, nulls) = c.take(groups);
                Arc::new(Decimal128Array::new(values, nulls))
            }
            Self::Bytes(c) => c.take(groups),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::I32(c) => c.values.len() * 4 + c.nulls.len(),
            Self::I64(c) => c.values.len() * 8 + c.nulls.len(),
            Self::I128(c) => c.values.len() * 16 + c.nulls.len(),
            Self::Bytes(c) => c.bytes.len() + c.spans.len() * size_of::<Option<(usize, u32)>>(),
        }
    }
}

/// Values of a fixed width. `nulls` is empty until the first NULL, then as long as `values`.
#[derive(Debug, Default)]
struct Fixed<T> {
    values: Vec<T>,
    nulls: Vec<bool>,
}

impl<T: Copy + Default + PartialEq + arrow::datatypes::ArrowNativeType> Fixed<T> {
    #[inline]
    fn equals(&self, group: usize, value: T) -> bool {
        self.values[group] == value && (self.nulls.is_empty() || !self.nulls[group])
    }

    #[inline]
    fn get(&self, group: usize) -> Option<T> {
        let null = !self.nulls.is_empty() && self.nulls[group];
        (!null).then(|| self.values[group])
    }

    fn set(&mut self, group: usize, value: Option<T>) {
        if group == self.values.len() {
            self.values.push(T::default());
            if !self.nulls.is_empty() {
                self.nulls.push(false);
            }
        }
        self.values[group] = value.unwrap_or_default();
        if value.is_none() && self.nulls.is_empty() {
            self.nulls.resize(self.values.len(), false);
        }
        if !self.nulls.is_empty() {
            self.nulls[group] = value.is_none();
        }
    }

    fn take(&self, groups: &[u32]) -> (ScalarBuffer<T>, Option<NullBuffer>) {
        let values: Vec<T> = groups.iter().map(|g| self.values[*g as usize]).collect();
        let nulls = (!self.nulls.is_empty())
            .then(|| NullBuffer::from_iter(groups.iter().map(|g| !self.nulls[*g as usize])))
            .filter(|n| n.null_count() > 0);
        (values.into(), nulls)
    }
}

/// Texts one after the other in one buffer.
#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    spans: Vec<Option<(usize, u32)>>,
    garbage: usize,
}

impl Texts {
    #[inline]
    fn get(&self, group: usize) -> Option<&[u8]> {
        self.spans[group].map(|(start, length)| &self.bytes[start..start + length as usize])
    }

    fn set(&mut self, group: usize, value: Option<&[u8]>) {
        if group == self.spans.len() {
            self.spans.push(None);
        }
        self.garbage += self.spans[group].map_or(0, |(_, length)| length as usize);
        self.spans[group] = value.map(|v| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(v);
            // Arrow's own offsets keep a value below 2 GB.
            (start, v.len() as u32)
        });
    }

    fn pack(&mut self) {
        if self.garbage < GARBAGE_BYTES.max(self.bytes.len() / 2) {
            return;
        }
        let mut packed = Vec::with_capacity(self.bytes.len() - self.garbage);
        for (start, length) in self.spans.iter_mut().flatten() {
            let from = std::mem::replace(start, packed.len());
            packed.extend_from_slice(&self.bytes[from..from + *length as usize]);
        }
        self.bytes = packed;
        self.garbage = 0;
    }

    fn take(&self, groups: &[u32]) -> ArrayRef {
        let bytes = groups.iter().filter_map(|g| self.get(*g as usize)).map(<[u8]>::len).sum();
        let mut builder = BinaryBuilder::with_capacity(groups.len(), bytes);
        groups.iter().for_each(|g| builder.append_option(self.get(*g as usize)));
        Arc::new(builder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, ListArray, StringArray};

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn null_and_empty_are_two_keys() {
        let mut table = KeyTable::new(&[DataType::Utf8]).unwrap();
        let mut groups = Vec::new();
        let keys = texts(&[Some("a"), None, Some(""), Some("a"), None, Some("ключ")]);
        table.intern(&[keys], 6, &mut groups).unwrap();
        assert_eq!(groups, [0, 1, 2, 0, 1, 3]);
        let back = table.keys(&[1, 3, 0, 2]).unwrap();
        assert_eq!(&back[0], &texts(&[None, Some("ключ"), Some("a"), Some("")]));
    }

    #[test]
    fn several_columns_of_all_forms() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1), None, Some(1)]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5, f64::NAN, 0.5, 0.5]));
        let decimals: ArrayRef =
            Arc::new(Decimal128Array::from(vec![1, 1, 1, 1]).with_precision_and_scale(10, 2).unwrap());
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            Some(vec![Some(1), None]),
            None,
            Some(vec![Some(1), None]),
        ]));
        let columns = [numbers, floats, decimals, lists, texts(&[Some("x"); 4])];
        let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
        let mut table = KeyTable::new(&types).unwrap();
        let mut groups = Vec::new();
        table.intern(&columns, 4, &mut groups).unwrap();
        assert_eq!(groups, [0, 1, 2, 0]);
        let back = table.keys(&[0, 1, 2]).unwrap();
        for (back, column) in back.iter().zip(&columns) {
            assert_eq!(back.as_ref(), column.slice(0, 3).as_ref());
        }
        assert_eq!(table.find(&columns, 4).unwrap(), [Some(0), Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn removed_groups_are_given_again_and_texts_are_packed() {
        let mut table = KeyTable::new(&[DataType::Utf8, DataType::Int32]).unwrap();
        let mut groups = Vec::new();
        let long = "x".repeat(1000);
        for round in 0..300 {
            let keys = texts(&[Some(&long), Some("kept")]);
            let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(round), None]));
            table.intern(&[keys, numbers], 2, &mut groups).unwrap();
            assert_eq!((table.len(), table.slots()), (2, 2));
            let gone = groups[0];
            table.remove([gone]);
            table.remove([gone]);
        }
        assert!(table.size() < 200_000, "{}", table.size());
        let kept: Vec<u32> = table.groups().collect();
        let back = table.keys(&kept).unwrap();
        assert_eq!(&back[0], &texts(&[Some("kept")]));
        assert!(back[1].is_null(0));
    }

    #[test]
    fn tables_take_in_tables() {
        let (mut a, mut groups) = (KeyTable::new(&[DataType::Utf8, DataType::Int64]).unwrap(), Vec::new());
        let mut b = a.new_like();
        let numbers = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        let first = [texts(&[Some("a"), None]), numbers(vec![Some(1), None])];
        a.intern(&first, 2, &mut groups).unwrap();
        let second = [texts(&[None, Some("b"), None]), numbers(vec![None, Some(1), Some(0)])];
        b.intern(&second, 3, &mut groups).unwrap();
        let mut into = Vec::new();
        a.intern_table(&b, &[2, 0, 1], &mut into);
        assert_eq!(into, [2, 1, 3]);
        a.intern(&second, 3, &mut groups).unwrap();
        assert_eq!(groups, [1, 3, 2]);
    }

    #[test]
    fn no_columns_are_one_group() {
        let mut table = KeyTable::new(&[]).unwrap();
        let mut groups = Vec::new();
        table.intern(&[], 3, &mut groups).unwrap();
        assert_eq!(groups, [0, 0, 0]);
        assert_eq!((table.len(), table.keys(&[0]).unwrap().len()), (1, 0));
    }
}
