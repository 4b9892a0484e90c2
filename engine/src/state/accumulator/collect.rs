//! Aggregates that keep every value: COLLECT, ARRAY_AGG, LISTAGG.

use super::extremum::{counted_size, counted_state};
use super::fold::Fold;
use super::value::{Fixed, Lists, Total, Value, open_lists};
use crate::error::{Error, Result};
use crate::state::column::Codec;
use arrow::array::{
    Array, ArrayRef, AsArray, GenericListBuilder, ListArray, MapArray, StringArray, StringBuilder,
    StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What joins the texts of LISTAGG(x).
const DEFAULT_DELIMITER: &str = ",";
/// Bytes of an entry of a list besides its text.
const LIST_ENTRY_BYTES: usize = size_of::<Box<str>>();

/// COLLECT: a MULTISET, held as a map of each value to how often it is there. NULLs are left out.
pub(super) struct Collect<V: Value> {
    codec: Codec,
    values: Vec<BTreeMap<V::Owned, i64>>,
    /// Number of values in all groups.
    held: usize,
}

impl<V: Value> Collect<V> {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, values: Vec::new(), held: 0 }
    }

    fn put(&mut self, group: usize, value: V::Owned, count: i64) {
        let counts = &mut self.values[group];
        self.held -= counts.len();
        *counts.entry(value).or_insert(0) += count;
        self.held += counts.len();
    }
}

impl<V: Value> Fold for Collect<V> {
    type Input = V::Array;
    type Output = (Lists<V>, Lists<Fixed<Int32Type>>);

    fn bind(&self, values: &[ArrayRef]) -> Result<V::Array> {
        Ok(V::array(&self.codec.encode(&values[0])?))
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize_with(groups.max(self.values.len()), BTreeMap::new);
    }

    fn add(&mut self, group: usize, input: &V::Array, row: usize) {
        self.put(group, V::own(input, row), 1);
    }

    fn retract(&mut self, group: usize, input: &V::Array, row: usize) {
        let value = V::own(input, row);
        self.put(group, value.clone(), -1);
        if self.values[group].get(&value) == Some(&0) {
            self.values[group].remove(&value);
            self.held -= 1;
        }
    }

    fn clear(&mut self, group: usize) {
        self.held -= std::mem::take(&mut self.values[group]).len();
    }

    fn output(&self, capacity: usize) -> Self::Output {
        (Lists::new(capacity), Lists::new(capacity))
    }

    fn push(&self, group: usize, (values, counts): &mut Self::Output) {
        for (value, count) in self.values[group].iter().filter(|(_, count)| **count > 0) {
            values.append(Some(value));
            counts.append(Some(&Total(i32::try_from(*count).unwrap_or(i32::MAX))));
        }
        values.end();
        counts.end();
    }

    fn finish(&self, (values, counts): Self::Output) -> Result<ArrayRef> {
        let (offsets, values) = values.into_parts(&self.codec)?;
        let (_, counts) = counts.into_parts(&Codec::new(&DataType::Int32)?)?;
        let fields = Fields::from(vec![
            Field::new("key", values.data_type().clone(), false),
            Field::new("value", DataType::Int32, true),
        ]);
        let entries = StructArray::try_new(fields.clone(), vec![values, counts], None)?;
        let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
        Ok(Arc::new(MapArray::try_new(field, offsets, entries, None, false)?))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        counted_state::<V>(&self.codec, groups.iter().map(|g| &self.values[*g as usize]))
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let (range, values) = open_lists(&states[0]);
        let values = V::array(&self.codec.encode(values)?);
        let counts = states[1].as_list::<i32>().values().as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            for i in range(row) {
                self.put(*group as usize, V::own(&values, i), counts.value(i));
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        counted_size::<V>(self.values.len(), self.held)
    }
}

/// ARRAY_AGG: the values in the order of arrival, NULLs too. NULL while there are none.
pub(super) struct ArrayAgg<V: Value> {
    codec: Codec,
    values: Vec<Vec<Option<V::Owned>>>,
    /// Number of values in all groups.
    held: usize,
}

impl<V: Value> ArrayAgg<V> {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, values: Vec::new(), held: 0 }
    }
}

impl<V: Value> Fold for ArrayAgg<V> {
    type Input = V::Array;
    type Output = (Lists<V>, Vec<bool>);

    const SKIPS_NULLS: bool = false;

    fn bind(&self, values: &[ArrayRef]) -> Result<V::Array> {
        Ok(V::array(&self.codec.encode(&values[0])?))
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize_with(groups.max(self.values.len()), Vec::new);
    }

    fn add(&mut self, group: usize, input: &V::Array, row: usize) {
        self.held += 1;
        self.values[group].push((!V::is_null(input, row)).then(|| V::own(input, row)));
    }

    fn retract(&mut self, group: usize, input: &V::Array, row: usize) {
        let values = &mut self.values[group];
        let same = |v: &Option<V::Owned>| match v {
            None => V::is_null(input, row),
            Some(v) => !V::is_null(input, row) && V::compare(input, row, v).is_eq(),
        };
        if let Some(at) = values.iter().position(same) {
            values.remove(at);
            self.held -= 1;
        }
    }

    fn clear(&mut self, group: usize) {
        self.held -= std::mem::take(&mut self.values[group]).len();
    }

    fn output(&self, capacity: usize) -> Self::Output {
        (Lists::new(capacity), Vec::with_capacity(capacity))
    }

    fn push(&self, group: usize, (lists, valid): &mut Self::Output) {
        self.values[group].iter().for_each(|v| lists.append(v.as_ref()));
        lists.end();
        valid.push(!self.values[group].is_empty());
    }

    fn finish(&self, (lists, valid): Self::Output) -> Result<ArrayRef> {
        let (offsets, values) = lists.into_parts(&self.codec)?;
        let nulls = Some(NullBuffer::from(valid)).filter(|n| n.null_count() > 0);
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        Ok(Arc::new(ListArray::try_new(field, offsets, values, nulls)?))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut out = self.output(groups.len());
        groups.iter().for_each(|g| self.push(*g as usize, &mut out));
        Ok(vec![out.0.finish(&self.codec)?])
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let (range, values) = open_lists(&states[0]);
        let values = V::array(&self.codec.encode(values)?);
        for (row, group) in groups.iter().enumerate() {
            range(row).for_each(|i| self.add(*group as usize, &values, i));
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.values.len() * 24 + self.held * (size_of::<Option<V::Owned>>() + V::HEAP)
    }
}

/// The texts and, if given, the delimiters of LISTAGG.
pub(super) struct Texts {
    texts: StringArray,
    delimiters: Option<StringArray>,
}

impl Texts {
    fn bind(values: &[ArrayRef]) -> Result<Self> {
        let texts = values.first().and_then(|v| v.as_string_opt::<i32>());
        let Some(texts) = texts else { return Err(Error::internal("LISTAGG wants texts.")) };
        let delimiters = values.get(1).and_then(|v| v.as_string_opt::<i32>()).cloned();
        Ok(Self { texts: texts.clone(), delimiters })
    }

    fn delimiter(&self, row: usize) -> &str {
        self.delimiters.as_ref().map_or(DEFAULT_DELIMITER, |d| d.value(row))
    }
}

/// LISTAGG of rows that stay: the text so far.
#[derive(Default)]
pub(super) struct ListAgg {
    lists: Vec<Option<String>>,
    delimiter: Option<String>,
    /// Bytes of all texts.
    bytes: usize,
}

impl ListAgg {
    fn put(&mut self, group: usize, text: &str, delimiter: &str) {
        self.bytes += text.len() + delimiter.len();
        match &mut self.lists[group] {
            Some(list) => {
                list.push_str(delimiter);
                list.push_str(text);
            }
            empty => *empty = Some(text.to_owned()),
        }
    }
}

impl Fold for ListAgg {
    type Input = Texts;
    type Output = StringBuilder;

    fn bind(&self, values: &[ArrayRef]) -> Result<Texts> {
        Texts::bind(values)
    }

    fn resize(&mut self, groups: usize) {
        self.lists.resize(groups.max(self.lists.len()), None);
    }

    fn add(&mut self, group: usize, input: &Texts, row: usize) {
        let delimiter = input.delimiter(row);
        if self.delimiter.as_deref() != Some(delimiter) {
            self.delimiter = Some(delimiter.to_owned());
        }
        self.put(group, input.texts.value(row), delimiter);
    }

    fn retract(&mut self, _: usize, _: &Texts, _: usize) {
        // `accumulator` makes the other form where rows may be taken back.
    }

    fn clear(&mut self, group: usize) {
        let gone = self.lists[group].take().map_or(0, |list| list.len());
        self.bytes = self.bytes.saturating_sub(gone);
    }

    fn output(&self, capacity: usize) -> StringBuilder {
        StringBuilder::with_capacity(capacity, 0)
    }

    fn push(&self, group: usize, out: &mut StringBuilder) {
        out.append_option(self.lists[group].as_deref());
    }

    fn finish(&self, mut out: StringBuilder) -> Result<ArrayRef> {
        Ok(Arc::new(out.finish()))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let lists = groups.iter().map(|g| self.lists[*g as usize].as_deref());
        let delimiter = self.delimiter.as_deref().unwrap_or(DEFAULT_DELIMITER);
        Ok(vec![
            Arc::new(StringArray::from_iter(lists)),
            Arc::new(StringArray::from_iter_values(groups.iter().map(|_| delimiter))),
        ])
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let input = Texts::bind(states)?;
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| input.texts.is_valid(*row)) {
            self.add(*group as usize, &input, row);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.lists.len() * 24 + self.bytes
    }
}

/// LISTAGG of rows that may be taken back: all texts in the order of arrival.
#[derive(Default)]
pub(super) struct RetractableListAgg {
    lists: Vec<Vec<Box<str>>>,
    delimiter: Option<String>,
    /// Bytes of all texts.
    bytes: usize,
}

impl RetractableListAgg {
    fn put(&mut self, group: usize, text: &str) {
        self.bytes += LIST_ENTRY_BYTES + text.len();
        self.lists[group].push(text.into());
    }
}

impl Fold for RetractableListAgg {
    type Input = Texts;
    type Output = StringBuilder;

    fn bind(&self, values: &[ArrayRef]) -> Result<Texts> {
        Texts::bind(values)
    }

    fn resize(&mut self, groups: usize) {
        self.lists.resize(groups.max(self.lists.len()), Vec::new());
    }

    fn add(&mut self, group: usize, input: &Texts, row: usize) {
        let delimiter = input.delimiter(row);
        if self.delimiter.as_deref() != Some(delimiter) {
            self.delimiter = Some(delimiter.to_owned());
        }
        self.put(group, input.texts.value(row));
    }

    fn retract(&mut self, group: usize, input: &Texts, row: usize) {
        let list = &mut self.lists[group];
        if let Some(at) = list.iter().position(|t| &**t == input.texts.value(row)) {
            self.bytes -= LIST_ENTRY_BYTES + list.remove(at).len();
        }
    }

    fn clear(&mut self, group: usize) {
        let gone = std::mem::take(&mut self.lists[group]);
        self.bytes -= gone.iter().map(|text| LIST_ENTRY_BYTES + text.len()).sum::<usize>();
    }

    fn output(&self, capacity: usize) -> StringBuilder {
        StringBuilder::with_capacity(capacity, 0)
    }

    fn push(&self, group: usize, out: &mut StringBuilder) {
        let delimiter = self.delimiter.as_deref().unwrap_or(DEFAULT_DELIMITER);
        let list = &self.lists[group];
        out.append_option((!list.is_empty()).then(|| list.join(delimiter)));
    }

    fn finish(&self, mut out: StringBuilder) -> Result<ArrayRef> {
        Ok(Arc::new(out.finish()))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut lists = GenericListBuilder::<i32, _>::new(StringBuilder::new());
        for group in groups {
            self.lists[*group as usize].iter().for_each(|text| lists.values().append_value(text));
            lists.append(true);
        }
        let delimiter = self.delimiter.as_deref().unwrap_or(DEFAULT_DELIMITER);
        let delimiters = StringArray::from_iter_values(groups.iter().map(|_| delimiter));
        Ok(vec![Arc::new(lists.finish()), Arc::new(delimiters)])
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let (range, texts) = open_lists(&states[0]);
        let texts = texts.as_string::<i32>();
        let delimiters = states[1].as_string::<i32>();
        for (row, group) in groups.iter().enumerate() {
            self.delimiter = Some(delimiters.value(row).to_owned());
            range(row).for_each(|i| self.put(*group as usize, texts.value(i)));
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.lists.len() * 24 + self.bytes
    }
}
