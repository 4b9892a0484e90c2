//! ARRAY, MAP and ROW: made, taken apart, and the functions of arrays and maps.
//!
//! Array functions choose elements: for each row a list of indexes into all elements there are, taken at the
//! end at once.

use super::common::{argument, argument_rows, common_field};
use super::field;
use super::scalar::{Binding, Call, Function, Kind, result, user};
use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, concat, take};
use arrow::datatypes::*;
use arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use datafusion_common::{Result, ScalarValue};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

const ANY: Kind = Kind::Any;
const A: Kind = Kind::Array;
const M: Kind = Kind::Map;
const I: Kind = Kind::Integer;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("ARRAY", &[ANY], array_type, array).variadic(),
    Function::new("MAP", &[ANY, ANY], map_type, map).variadic(),
    Function::new("ROW", &[ANY], row_type, row).variadic(),
    Function::new("[]", &[Kind::ArrayOrMap, ANY], item_type, item),
    Function::new("CARDINALITY", &[Kind::ArrayOrMap], result::int, cardinality),
    Function::new("ELEMENT", &[A], element_type, element),
    Function::new("ARRAY_APPEND", &[A, ANY], with_element, |c| {
        lists(c, &[0, 1], |l, row, out| l.extend(0, row, out) && l.push(1, row, out))
    }),
    Function::new("ARRAY_PREPEND", &[A, ANY], with_element, |c| {
        lists(c, &[0, 1], |l, row, out| l.is_valid(0, row) && l.push(1, row, out) && l.extend(0, row, out))
    }),
    Function::new("ARRAY_CONCAT", &[A], common_list, array_concat).variadic(),
    Function::new("ARRAY_REVERSE", &[A], common_list, |c| {
        lists(c, &[0], |l, row, out| {
            l.extend(0, row, out) && {
                out.reverse();
                true
            }
        })
    }),
    Function::new("ARRAY_DISTINCT", &[A], common_list, |c| {
        lists(c, &[0], |l, row, out| l.range(0, row).map(|r| l.distinct(r, out)).is_some())
    }),
    Function::new("ARRAY_UNION", &[A, A], common_list, |c| lists(c, &[0, 1], array_union)),
    Function::new("ARRAY_EXCEPT", &[A, A], first_list, |c| lists(c, &[0, 1], array_except)),
    Function::new("ARRAY_INTERSECT", &[A, A], first_list, |c| lists(c, &[0, 1], array_intersect)),
    Function::new("ARRAY_REMOVE", &[A, ANY], with_element, |c| lists(c, &[0, 1], array_remove)),
    Function::new("ARRAY_SLICE", &[A, I, I], common_list, array_slice).optional(1),
    Function::new("ARRAY_SORT", &[A, Kind::Boolean, Kind::Boolean], common_list, array_sort).optional(2),
    Function::new("ARRAY_CONTAINS", &[A, ANY], contains_type, array_contains),
    Function::new("ARRAY_POSITION", &[A, ANY], position_type, array_position),
    Function::new("ARRAY_MAX", &[A], element_type, |c| array_extreme(c, true)),
    Function::new("ARRAY_MIN", &[A], element_type, |c| array_extreme(c, false)),
    Function::new("ARRAY_JOIN", &[A, Kind::Text, Kind::Text], result::text, array_join).optional(1),
    Function::new("MAP_KEYS", &[M], |b| map_part(b, 0), |c| map_column(c, 0)),
    Function::new("MAP_VALUES", &[M], |b| map_part(b, 1), |c| map_column(c, 1)),
    Function::new("MAP_ENTRIES", &[M], entries_type, map_entries),
    Function::new("MAP_FROM_ARRAYS", &[A, A], from_arrays_type, map_from_arrays),
    Function::new("MAP_UNION", &[M, M], map_union_type, map_union),
];

fn list_of(item: &Field) -> DataType {
    DataType::List(field::item(item, item.is_nullable()))
}

/// The element's field of an ARRAY argument.
fn item_of(b: &Binding<'_>, i: usize) -> Field {
    match b.data_type(i) {
        DataType::List(item) => item.as_ref().clone(),
        _ => Field::new("item", DataType::Null, true),
    }
}

fn array_type(b: &Binding<'_>) -> Result<Field> {
    match common_field(b.fields.iter().map(AsRef::as_ref)) {
        Some(item) => Ok(Field::new("", list_of(&item), false)),
        None => b.refuse("the elements of an ARRAY must have a type in common."),
    }
}

fn array(call: &Call<'_>) -> Result<ArrayRef> {
    let all: Vec<usize> = (0..call.len()).collect();
    lists(call, &all, all_elements)
}

fn all_elements(l: &Lists, row: usize, out: &mut Vec<u32>) -> bool {
    (0..l.sources.len()).all(|i| l.push(i, row, out))
}

fn row_type(b: &Binding<'_>) -> Result<Field> {
    let fields: Fields = b
        .fields
        .iter()
        .enumerate()
        .map(|(i, f)| {
            field::like(f, f.is_nullable() || f.data_type().is_null()).with_name(format!("EXPR${i}"))
        })
        .collect();
    Ok(Field::new("", DataType::Struct(fields), false))
}

fn row(call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.field.data_type() else { return call.array(0) };
    let columns = (0..call.len()).map(|i| call.array(i)).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}

fn map_of(key: &Field, value: &Field) -> DataType {
    let entries = Fields::from(vec![
        field::like(key, false).with_name("key"),
        field::like(value, value.is_nullable()).with_name("value"),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// Key and value of a MAP type.
fn key_value(t: &DataType) -> Option<(&FieldRef, &FieldRef)> {
    match t {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(kv) if kv.len() == 2 => Some((&kv[0], &kv[1])),
            _ => None,
        },
        _ => None,
    }
}

fn map_type(b: &Binding<'_>) -> Result<Field> {
    if b.fields.len() % 2 == 1 {
        return b.refuse("a MAP needs a value for each key.");
    }
    let every = |from: usize| common_field(b.fields.iter().skip(from).step_by(2).map(AsRef::as_ref));
    match (every(0), every(1)) {
        (Some(k), Some(v)) => Ok(Field::new("", map_of(&k, &v), false)),
        _ => b.refuse("the keys of a MAP must have a type in common, and so must its values."),
    }
}

fn map(call: &Call<'_>) -> Result<ArrayRef> {
    let pairs = call.len() / 2;
    let Some((key, value)) = key_value(call.field.data_type()) else { return call.array(0) };
    let keys = (0..pairs).map(|i| argument_rows(call, 2 * i, key)).collect::<Result<Vec<_>>>()?;
    let values = (0..pairs).map(|i| argument_rows(call, 2 * i + 1, value)).collect::<Result<Vec<_>>>()?;
    // Element i of row r stands at i * rows + r.
    let at = |i: usize, row: usize| (i * call.rows + row) as u32;
    let all_keys = gather(&keys, key.data_type())?;
    let all_values = gather(&values, value.data_type())?;
    build_map(call, &all_keys, &all_values, |row, out| {
        out.extend((0..pairs).map(|i| (at(i, row), at(i, row))));
        true
    })
}

fn gather(arrays: &[ArrayRef], data_type: &DataType) -> Result<ArrayRef> {
    if arrays.is_empty() {
        return Ok(new_empty_array(data_type));
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    Ok(concat(&arrays)?)
}

/// Makes maps of chosen keys and values. Of equal keys the last value counts, at the first one's place.
fn build_map(
    call: &Call<'_>,
    keys: &ArrayRef,
    values: &ArrayRef,
    choose: impl Fn(usize, &mut Vec<(u32, u32)>) -> bool,
) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = call.field.data_type() else { return call.array(0) };
    let DataType::Struct(fields) = entries.data_type() else { return call.array(0) };
    let rows = comparable(keys)?;
    let (mut chosen_keys, mut chosen_values) = (Vec::new(), Vec::new());
    let mut lengths = Vec::with_capacity(call.rows);
    let mut valid = Vec::with_capacity(call.rows);
    let mut pairs = Vec::new();
    for row in 0..call.rows {
        pairs.clear();
        let present = choose(row, &mut pairs);
        valid.push(present);
        let start = chosen_keys.len();
        let mut places: HashMap<_, usize> = HashMap::new();
        if present {
            for (k, v) in &pairs {
                if keys.is_null(*k as usize) {
                    return user("The key of a MAP must not be NULL.");
                }
                match places.get(&rows.row(*k as usize)) {
                    Some(place) => chosen_values[*place] = *v,
                    None => {
                        places.insert(rows.row(*k as usize), chosen_values.len());
                        chosen_keys.push(*k);
                        chosen_values.push(*v);
                    }
                }
            }
        }
        lengths.push(chosen_keys.len() - start);
    }
    let taken = |from: &ArrayRef, at: Vec<u32>| take(from, &UInt32Array::from(at), None);
    let columns = vec![taken(keys, chosen_keys)?, taken(values, chosen_values)?];
    let entries_array = StructArray::try_new(fields.clone(), columns, None)?;
    Ok(Arc::new(MapArray::try_new(
        Arc::clone(entries),
        OffsetBuffer::from_lengths(lengths),
        entries_array,
        Some(NullBuffer::from(valid)),
        *sorted,
    )?))
}

/// Values in a form that can be compared and hashed; NULLs are equal.
fn comparable(values: &ArrayRef) -> Result<Rows> {
    comparable_by(values, SortOptions::default())
}

fn comparable_by(values: &ArrayRef, options: SortOptions) -> Result<Rows> {
    let converter = RowConverter::new(vec![SortField::new_with_options(values.data_type().clone(), options)]);
    match converter {
        Ok(c) => Ok(c.convert_columns(&[Arc::clone(values)])?),
        Err(_) => {
            user(format!("Values of type {} cannot be compared.", field::type_name(values.data_type())))
        }
    }
}

/// Where the elements of one argument stand among all of them.
enum Source {
    List { offsets: OffsetBuffer<i32>, nulls: Option<NullBuffer>, base: usize, constant: bool },
    Element { base: usize, constant: bool },
}

/// Elements of several arguments, one after another.
struct Lists {
    values: ArrayRef,
    rows: Option<Rows>,
    sources: Vec<Source>,
}

impl Lists {
    /// The arguments `which`. Those that are arrays of `item`, and not `item`s themselves, are lists.
    fn new(call: &Call<'_>, which: &[usize], item: &Field, elements_only: bool) -> Result<Self> {
        let list = Field::new(
            "",
            DataType::List(Arc::new(item.clone().with_name("item").with_nullable(true))),
            true,
        );
        let mut parts: Vec<ArrayRef> = Vec::new();
        let mut sources = Vec::new();
        let mut base = 0;
        for i in which {
            let is_list = !elements_only && (*i != 1 || second_is_list(call));
            let (array, constant) = argument(call, *i, if is_list { &list } else { item })?;
            if is_list {
                let array = array.as_list::<i32>();
                parts.push(Arc::clone(array.values()));
                sources.push(Source::List {
                    offsets: array.offsets().clone(),
                    nulls: array.nulls().cloned(),
                    base,
                    constant,
                });
                base += array.values().len();
            } else {
                base += array.len();
                sources.push(Source::Element { base: base - array.len(), constant });
                parts.push(array);
            }
        }
        Ok(Self { values: gather(&parts, item.data_type())?, rows: None, sources })
    }

    fn range(&self, source: usize, row: usize) -> Option<Range<u32>> {
        match self.sources.get(source)? {
            Source::List { offsets, nulls, base, constant } => {
                let row = if *constant { 0 } else { row };
                if nulls.as_ref().is_some_and(|n| n.is_null(row)) {
                    return None;
                }
                Some((*base + offsets[row] as usize) as u32..(*base + offsets[row + 1] as usize) as u32)
            }
            Source::Element { .. } => None,
        }
    }

    fn is_valid(&self, source: usize, row: usize) -> bool {
        self.range(source, row).is_some()
    }

    fn element(&self, source: usize, row: usize) -> Option<u32> {
        match self.sources.get(source)? {
            Source::Element { base, constant } => Some((base + if *constant { 0 } else { row }) as u32),
            Source::List { .. } => None,
        }
    }

    fn extend(&self, source: usize, row: usize, out: &mut Vec<u32>) -> bool {
        self.range(source, row).map(|r| out.extend(r)).is_some()
    }

    fn push(&self, source: usize, row: usize, out: &mut Vec<u32>) -> bool {
        self.element(source, row).map(|e| out.push(e)).is_some()
    }

    fn same(&self, a: u32, b: u32) -> bool {
        self.rows.as_ref().is_some_and(|r| r.row(a as usize) == r.row(b as usize))
    }

    fn owned(&self, i: u32) -> Option<OwnedRow> {
        self.rows.as_ref().map(|r| r.row(i as usize).owned())
    }

    fn distinct(&self, range: impl IntoIterator<Item = u32>, out: &mut Vec<u32>) {
        let mut seen = HashSet::new();
        out.extend(range.into_iter().filter(|i| seen.insert(self.owned(*i))));
    }
}

/// Whether the second argument is an array beside the first, and not an element of it: an element of an array
/// of arrays is less deep.
fn second_is_list(call: &Call<'_>) -> bool {
    depth(call.fields[1].data_type()) >= depth(call.fields[0].data_type())
}

fn depth(t: &DataType) -> usize {
    match t {
        DataType::List(item) => 1 + depth(item.data_type()),
        _ => 0,
    }
}

/// An array for each row, of the elements that `choose` names; NULL where it says false.
fn lists(
    call: &Call<'_>,
    which: &[usize],
    choose: impl Fn(&Lists, usize, &mut Vec<u32>) -> bool,
) -> Result<ArrayRef> {
    let DataType::List(item) = call.field.data_type() else {
        return Ok(new_null_array(call.field.data_type(), call.rows));
    };
    // ARRAY[…] has elements alone; of the other functions the first argument is a list.
    let elements_only =
        !call.fields.is_empty() && depth(call.fields[0].data_type()) < depth(call.field.data_type());
    let mut all = Lists::new(call, which, item, elements_only)?;
    // Elements that only move need no comparing (and maps cannot be).
    all.rows = comparable(&all.values).ok();
    choose_lists(call, &all, item, |row, out| Ok(choose(&all, row, out)))
}

fn choose_lists(
    call: &Call<'_>,
    all: &Lists,
    item: &FieldRef,
    mut choose: impl FnMut(usize, &mut Vec<u32>) -> Result<bool>,
) -> Result<ArrayRef> {
    let mut chosen: Vec<u32> = Vec::new();
    let mut one = Vec::new();
    let mut lengths = Vec::with_capacity(call.rows);
    let mut valid = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        one.clear();
        let present = choose(row, &mut one)?;
        if !present {
            one.clear();
        }
        if chosen.len() + one.len() > MAX_ELEMENTS {
            return user(format!("The arrays of one batch of rows have more than {MAX_ELEMENTS} elements."));
        }
        chosen.extend_from_slice(&one);
        lengths.push(one.len());
        valid.push(present);
    }
    let values = take(&all.values, &UInt32Array::from(chosen), None)?;
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        OffsetBuffer::from_lengths(lengths),
        values,
        Some(NullBuffer::from(valid)),
    )?))
}

/// Elements that one call may make for one batch of rows.
const MAX_ELEMENTS: usize = 1 << 28;

fn common_list(b: &Binding<'_>) -> Result<Field> {
    let items: Vec<Field> = (0..b.fields.len())
        .filter(|i| matches!(b.data_type(*i), DataType::List(_)))
        .map(|i| item_of(b, i))
        .collect();
    match common_field(items.iter()) {
        Some(item) => Ok(Field::new("", list_of(&item), b.nullable())),
        None if items.is_empty() => Ok(Field::new("", list_of(&Field::new("", DataType::Null, true)), true)),
        None => b.refuse("the arrays must have elements of one type."),
    }
}

fn first_list(b: &Binding<'_>) -> Result<Field> {
    common_list(b)
}

fn with_element(b: &Binding<'_>) -> Result<Field> {
    match common_field([&item_of(b, 0), b.fields[1].as_ref()]) {
        Some(item) => {
            Ok(Field::new("", list_of(&item), b.fields[0].is_nullable() || b.data_type(0).is_null()))
        }
        None => b.refuse("the value must be of the type of the array's elements."),
    }
}

fn array_concat(call: &Call<'_>) -> Result<ArrayRef> {
    let all: Vec<usize> = (0..call.len()).collect();
    lists(call, &all, |l, row, out| (0..l.sources.len()).all(|i| l.extend(i, row, out)))
}

fn array_union(l: &Lists, row: usize, out: &mut Vec<u32>) -> bool {
    match (l.range(0, row), l.range(1, row)) {
        (Some(a), Some(b)) => {
            l.distinct(a.chain(b), out);
            true
        }
        _ => false,
    }
}

fn array_except(l: &Lists, row: usize, out: &mut Vec<u32>) -> bool {
    compared(l, row, out, false)
}

fn array_intersect(l: &Lists, row: usize, out: &mut Vec<u32>) -> bool {
    compared(l, row, out, true)
}

/// Elements of the first array, each once, that are in the second or not.
fn compared(l: &Lists, row: usize, out: &mut Vec<u32>, keep: bool) -> bool {
    let (Some(a), Some(b)) = (l.range(0, row), l.range(1, row)) else { return false };
    let second: HashSet<_> = b.map(|i| l.owned(i)).collect();
    l.distinct(a.filter(|i| second.contains(&l.owned(*i)) == keep), out);
    true
}

fn array_remove(l: &Lists, row: usize, out: &mut Vec<u32>) -> bool {
    let (Some(range), Some(e)) = (l.range(0, row), l.element(1, row)) else { return false };
    out.extend(range.filter(|i| !l.same(*i, e)));
    true
}

/// Positions from 1, 0 is 1; negative ones count from the end.
fn array_slice(call: &Call<'_>) -> Result<ArrayRef> {
    let start = call.long(1)?;
    let end = if call.len() > 2 { Some(call.long(2)?) } else { None };
    let DataType::List(item) = call.field.data_type() else { return call.array(0) };
    let all = Lists::new(call, &[0], item, false)?;
    choose_lists(call, &all, item, |row, out| {
        let (Some(range), Some(start)) = (all.range(0, row), start.get(row)) else { return Ok(false) };
        let n = i64::from(range.end - range.start);
        let end = match &end {
            None => n,
            Some(e) => match e.get(row) {
                Some(e) => e,
                None => return Ok(false),
            },
        };
        let from = if start < 0 { start.saturating_add(n) } else { (start - 1).max(0) }.max(0);
        let to = if end < 0 {
            end.saturating_add(n).saturating_add(1)
        } else if end == 0 {
            1
        } else {
            end
        }
        .min(n);
        if from < to {
            out.extend(range.start + from as u32..range.start + to as u32);
        }
        Ok(true)
    })
}

/// Ascending with NULLs first, descending with NULLs last, unless the third argument says otherwise.
fn array_sort(call: &Call<'_>) -> Result<ArrayRef> {
    let ascending = if call.len() > 1 { Some(call.flag(1)?) } else { None };
    let nulls_first = if call.len() > 2 { Some(call.flag(2)?) } else { None };
    let DataType::List(item) = call.field.data_type() else { return call.array(0) };
    let all = Lists::new(call, &[0], item, false)?;
    let by = |descending, nulls_first| comparable_by(&all.values, SortOptions { descending, nulls_first });
    let orders = [by(false, false)?, by(false, true)?, by(true, false)?, by(true, true)?];
    choose_lists(call, &all, item, |row, out| {
        let ascending = ascending.as_ref().map_or(Some(true), |a| a.get(row));
        let (Some(range), Some(ascending)) = (all.range(0, row), ascending) else { return Ok(false) };
        let Some(nulls_first) = nulls_first.as_ref().map_or(Some(ascending), |n| n.get(row)) else {
            return Ok(false);
        };
        let order = &orders[usize::from(!ascending) * 2 + usize::from(nulls_first)];
        out.extend(range);
        out.sort_by(|a, b| order.row(*a as usize).cmp(&order.row(*b as usize)));
        Ok(true)
    })
}

fn contains_type(b: &Binding<'_>) -> Result<Field> {
    with_element(b)?;
    Ok(Field::new("", DataType::Boolean, b.fields[0].is_nullable() || b.data_type(0).is_null()))
}

fn position_type(b: &Binding<'_>) -> Result<Field> {
    with_element(b)?;
    result::int(b)
}

/// Array and element of a search, comparable.
fn search(call: &Call<'_>) -> Result<Lists> {
    let item = match call.fields[0].data_type() {
        DataType::List(item) => item.as_ref().clone(),
        _ => Field::new("item", DataType::Null, true),
    };
    let common = common_field([&item, call.fields[1].as_ref()]).unwrap_or(item);
    let mut all = Lists::new(call, &[0, 1], &common, false)?;
    all.rows = Some(comparable(&all.values)?);
    Ok(all)
}

fn array_contains(call: &Call<'_>) -> Result<ArrayRef> {
    let all = search(call)?;
    call.booleans(|row| {
        let (Some(mut range), Some(e)) = (all.range(0, row), all.element(1, row)) else { return Ok(None) };
        Ok(Some(range.any(|i| all.same(i, e))))
    })
}

fn array_position(call: &Call<'_>) -> Result<ArrayRef> {
    let all = search(call)?;
    call.numbers::<Int32Type>(|row| {
        let (Some(mut range), Some(e)) = (all.range(0, row), all.element(1, row)) else { return Ok(None) };
        if all.values.is_null(e as usize) {
            return Ok(None);
        }
        Ok(Some(range.position(|i| all.same(i, e)).map_or(0, |p| p as i32 + 1)))
    })
}

fn element_type(b: &Binding<'_>) -> Result<Field> {
    Ok(field::like(&item_of(b, 0), true))
}

/// One element or NULL for each row.
fn pick(
    call: &Call<'_>,
    all: &Lists,
    mut choose: impl FnMut(usize) -> Result<Option<u32>>,
) -> Result<ArrayRef> {
    let chosen = (0..call.rows).map(&mut choose).collect::<Result<UInt32Array>>()?;
    Ok(take(&all.values, &chosen, None)?)
}

fn array_extreme(call: &Call<'_>, largest: bool) -> Result<ArrayRef> {
    let all = Lists::new(call, &[0], call.field, false)?;
    let rows = comparable(&all.values)?;
    pick(call, &all, |row| {
        let Some(range) = all.range(0, row) else { return Ok(None) };
        let values = range.filter(|i| all.values.is_valid(*i as usize));
        let by = |a: &u32, b: &u32| rows.row(*a as usize).cmp(&rows.row(*b as usize));
        Ok(if largest { values.max_by(by) } else { values.min_by(by) })
    })
}

fn element(call: &Call<'_>) -> Result<ArrayRef> {
    let all = Lists::new(call, &[0], call.field, false)?;
    pick(call, &all, |row| match all.range(0, row) {
        Some(r) if r.len() > 1 => user("ELEMENT: the array has more than one element."),
        Some(r) => Ok(r.into_iter().next()),
        None => Ok(None),
    })
}

fn item_type(b: &Binding<'_>) -> Result<Field> {
    match b.data_type(0) {
        DataType::List(item) => {
            if !(b.data_type(1).is_signed_integer() || b.data_type(1).is_null()) {
                return b.refuse("an ARRAY is indexed by an integer, from 1.");
            }
            if let Some(Some(index)) = b.constants.get(1)
                && let Ok(ScalarValue::Int64(Some(index))) = index.cast_to(&DataType::Int64)
                && index < 1
            {
                return user(format!("Array element access needs an index starting at 1 but was {index}."));
            }
            Ok(field::like(item, true))
        }
        t => match key_value(t) {
            Some((key, value)) if common_field([key.as_ref(), b.fields[1].as_ref()]).is_some() => {
                Ok(field::like(value, true))
            }
            Some((key, _)) => {
                b.refuse(format!("the keys of the MAP are {}.", field::type_text(&field::like(key, true))))
            }
            None => Ok(Field::new("", DataType::Null, true)),
        },
    }
}

/// `a[i]` and `m[k]`; NULL where there is no such element.
fn item(call: &Call<'_>) -> Result<ArrayRef> {
    let container = call.fields[0].data_type();
    if let Some((key, _)) = key_value(container) {
        let (map, map_constant) = call.column(0)?;
        let map = map.as_map();
        let common =
            common_field([key.as_ref(), call.fields[1].as_ref()]).unwrap_or_else(|| key.as_ref().clone());
        let (wanted, wanted_constant) = argument(call, 1, &common)?;
        let keys = super::cast::cast_array(map.keys(), key, &common, true, call.env.zone)?;
        let base = keys.len();
        let rows = comparable(&gather(&[keys, wanted], common.data_type())?)?;
        let chosen: UInt32Array = (0..call.rows)
            .map(|row| {
                let m = if map_constant { 0 } else { row };
                let w = base + if wanted_constant { 0 } else { row };
                let range = map.offsets()[m] as usize..map.offsets()[m + 1] as usize;
                let found = range.into_iter().find(|i| rows.row(*i) == rows.row(w));
                found.filter(|_| map.is_valid(m)).map(|i| i as u32)
            })
            .collect();
        return Ok(take(map.values(), &chosen, None)?);
    }
    let all = Lists::new(call, &[0], call.field, false)?;
    let index = call.long(1)?;
    pick(call, &all, |row| {
        let (Some(mut range), Some(index)) = (all.range(0, row), index.get(row)) else { return Ok(None) };
        Ok(usize::try_from(index).ok().filter(|i| *i >= 1).and_then(|i| range.nth(i - 1)))
    })
}

fn cardinality(call: &Call<'_>) -> Result<ArrayRef> {
    let (array, constant) = call.column(0)?;
    let at = |row| if constant { 0 } else { row };
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            call.numbers::<Int32Type>(|row| Ok(list.is_valid(at(row)).then(|| list.value_length(at(row)))))
        }
        DataType::Map(..) => {
            let map = array.as_map();
            call.numbers::<Int32Type>(|row| Ok(map.is_valid(at(row)).then(|| map.value_length(at(row)))))
        }
        _ => Ok(new_null_array(&DataType::Int32, call.rows)),
    }
}

/// NULL elements are left out, unless there is a text for them.
fn array_join(call: &Call<'_>) -> Result<ArrayRef> {
    let separator = call.text(1)?;
    let for_null = if call.len() > 2 { Some(call.text(2)?) } else { None };
    let item = Field::new("item", DataType::Utf8, true);
    let all = Lists::new(call, &[0], &item, false)?;
    let values = all.values.as_string::<i32>();
    call.texts(|row, out| {
        let (Some(range), Some(separator)) = (all.range(0, row), separator.get(row)) else {
            return Ok(false);
        };
        let for_null = for_null.as_ref().map(|n| n.get(row));
        if for_null == Some(None) {
            return Ok(false);
        }
        let mut first = true;
        for i in range {
            let text =
                if values.is_valid(i as usize) { Some(values.value(i as usize)) } else { for_null.flatten() };
            let Some(text) = text else { continue };
            super::scalar::check_size(out.len() + text.len(), "ARRAY_JOIN")?;
            if !first {
                out.push_str(separator);
            }
            first = false;
            out.push_str(text);
        }
        Ok(true)
    })
}

fn map_part(b: &Binding<'_>, part: usize) -> Result<Field> {
    match key_value(b.data_type(0)) {
        Some((key, value)) => {
            let part = if part == 0 { key } else { value };
            Ok(b.strict(list_of(&field::like(part, part.is_nullable()))))
        }
        None => Ok(Field::new("", list_of(&Field::new("", DataType::Null, true)), true)),
    }
}

fn map_column(call: &Call<'_>, part: usize) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let (Some(map), DataType::List(item)) = (array.as_map_opt(), call.field.data_type()) else {
        return Ok(new_null_array(call.field.data_type(), call.rows));
    };
    let values = if part == 0 { map.keys() } else { map.values() };
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        map.offsets().clone(),
        Arc::clone(values),
        map.nulls().cloned(),
    )?))
}

fn entries_type(b: &Binding<'_>) -> Result<Field> {
    match b.data_type(0) {
        DataType::Map(entries, _) => {
            Ok(b.strict(list_of(&Field::new("", entries.data_type().clone(), true))))
        }
        _ => Ok(Field::new("", list_of(&Field::new("", DataType::Null, true)), true)),
    }
}

fn map_entries(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let (Some(map), DataType::List(item)) = (array.as_map_opt(), call.field.data_type()) else {
        return Ok(new_null_array(call.field.data_type(), call.rows));
    };
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        map.offsets().clone(),
        Arc::new(map.entries().clone()),
        map.nulls().cloned(),
    )?))
}

fn from_arrays_type(b: &Binding<'_>) -> Result<Field> {
    Ok(b.strict(map_of(&item_of(b, 0), &item_of(b, 1))))
}

fn map_from_arrays(call: &Call<'_>) -> Result<ArrayRef> {
    let Some((key, value)) = key_value(call.field.data_type()) else { return call.array(0) };
    let keys = Lists::new(call, &[0], key, false)?;
    // The second argument is a list here whatever its depth.
    let (second, constant) = call.column(1)?;
    let list = Field::new("", list_of(&field::like(value, true)), true);
    let second = super::cast::cast_array(&second, &call.fields[1], &list, false, call.env.zone)?;
    let second = second.as_list::<i32>();
    let values = Lists {
        values: Arc::clone(second.values()),
        rows: None,
        sources: vec![Source::List {
            offsets: second.offsets().clone(),
            nulls: second.nulls().cloned(),
            base: 0,
            constant,
        }],
    };
    for row in 0..call.rows {
        if let (Some(k), Some(v)) = (keys.range(0, row), values.range(0, row))
            && k.len() != v.len()
        {
            return user(format!(
                "MAP_FROM_ARRAYS needs as many keys as values, but there are {} keys and {} values.",
                k.len(),
                v.len()
            ));
        }
    }
    build_map(call, &keys.values, &values.values, |row, out| {
        match (keys.range(0, row), values.range(0, row)) {
            (Some(k), Some(v)) => {
                out.extend(k.zip(v));
                true
            }
            _ => false,
        }
    })
}

fn map_union_type(b: &Binding<'_>) -> Result<Field> {
    match common_field(b.fields.iter().map(AsRef::as_ref)) {
        Some(f) => Ok(field::like(&f, b.nullable())),
        None => b.refuse("the maps must have keys and values of one type."),
    }
}

fn map_union(call: &Call<'_>) -> Result<ArrayRef> {
    let (a, b) = (argument_rows(call, 0, call.field)?, argument_rows(call, 1, call.field)?);
    let (Some(a), Some(b)) = (a.as_map_opt(), b.as_map_opt()) else {
        return Ok(new_null_array(call.field.data_type(), call.rows));
    };
    let keys = concat(&[a.keys().as_ref(), b.keys().as_ref()])?;
    let values = concat(&[a.values().as_ref(), b.values().as_ref()])?;
    let base = a.keys().len() as u32;
    let range = |m: &MapArray, row: usize| m.offsets()[row] as u32..m.offsets()[row + 1] as u32;
    build_map(call, &keys, &values, |row, out| {
        if a.is_null(row) || b.is_null(row) {
            return false;
        }
        out.extend(range(a, row).map(|i| (i, i)));
        out.extend(range(b, row).map(|i| (base + i, base + i)));
        true
    })
}
