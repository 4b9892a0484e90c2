//! Values that accumulators keep, compare and give back: of a fixed width, or bytes.

use crate::error::Result;
use crate::state::column::Codec;
use arrow::array::{
    Array, ArrayBuilder, ArrayRef, ArrowNativeTypeOp, AsArray, BinaryArray, BinaryBuilder, ListArray,
    PrimitiveArray, PrimitiveBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{ArrowPrimitiveType, Field};
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::sync::Arc;

/// Bytes that an allocation takes besides what is asked for, about.
const ALLOCATION_BYTES: usize = 16;

/// A physical form of values (see `column::Physical`).
pub(super) trait Value: Send + 'static {
    /// A column of them.
    type Array: Clone + 'static;
    /// One of them, kept.
    type Owned: Clone + Ord + Send;
    /// A column being made.
    type Builder;
    /// Bytes that a value keeps on the heap besides itself, guessed where looking at each one would take too long.
    const HEAP: usize;

    fn array(array: &ArrayRef) -> Self::Array;
    fn is_null(array: &Self::Array, row: usize) -> bool;
    fn own(array: &Self::Array, row: usize) -> Self::Owned;
    /// Bytes that `value` keeps on the heap.
    fn heap(value: &Self::Owned) -> usize;
    fn compare(array: &Self::Array, row: usize, other: &Self::Owned) -> Ordering;
    fn builder(capacity: usize) -> Self::Builder;
    fn append(builder: &mut Self::Builder, value: Option<&Self::Owned>);
    fn length(builder: &Self::Builder) -> usize;
    fn finish(builder: Self::Builder) -> ArrayRef;
}

/// Numbers, with floats in total order.
pub(super) struct Fixed<T>(PhantomData<fn() -> T>);

/// A number with a total order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Total<N>(pub N);

impl<N: ArrowNativeTypeOp> PartialEq for Total<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_eq(other.0)
    }
}

impl<N: ArrowNativeTypeOp> Eq for Total<N> {}

impl<N: ArrowNativeTypeOp> PartialOrd for Total<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<N: ArrowNativeTypeOp> Ord for Total<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.compare(other.0)
    }
}

impl<T: ArrowPrimitiveType<Native: ArrowNativeTypeOp>> Value for Fixed<T> {
    type Array = PrimitiveArray<T>;
    type Owned = Total<T::Native>;
    type Builder = PrimitiveBuilder<T>;
    const HEAP: usize = 0;

    fn array(array: &ArrayRef) -> Self::Array {
        array.as_primitive::<T>().clone()
    }

    fn is_null(array: &Self::Array, row: usize) -> bool {
        array.is_null(row)
    }

    #[inline]
    fn own(array: &Self::Array, row: usize) -> Self::Owned {
        Total(array.values()[row])
    }

    #[inline]
    fn heap(_: &Self::Owned) -> usize {
        0
    }

    #[inline]
    fn compare(array: &Self::Array, row: usize, other: &Self::Owned) -> Ordering {
        array.values()[row].compare(other.0)
    }

    fn builder(capacity: usize) -> Self::Builder {
        PrimitiveBuilder::with_capacity(capacity)
    }

    #[inline]
    fn append(builder: &mut Self::Builder, value: Option<&Self::Owned>) {
        builder.append_option(value.map(|v| v.0));
    }

    fn length(builder: &Self::Builder) -> usize {
        builder.len()
    }

    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

/// Texts, bytes, and nested values in row format.
pub(super) struct Bytes;

impl Value for Bytes {
    type Array = BinaryArray;
    type Owned = Box<[u8]>;
    type Builder = BinaryBuilder;
    const HEAP: usize = 32;

    fn array(array: &ArrayRef) -> BinaryArray {
        array.as_binary::<i32>().clone()
    }

    fn is_null(array: &BinaryArray, row: usize) -> bool {
        array.is_null(row)
    }

    fn own(array: &BinaryArray, row: usize) -> Box<[u8]> {
        array.value(row).into()
    }

    fn heap(value: &Box<[u8]>) -> usize {
        value.len() + ALLOCATION_BYTES
    }

    #[inline]
    fn compare(array: &BinaryArray, row: usize, other: &Box<[u8]>) -> Ordering {
        array.value(row).cmp(other)
    }

    fn builder(capacity: usize) -> BinaryBuilder {
        BinaryBuilder::with_capacity(capacity, 0)
    }

    fn append(builder: &mut BinaryBuilder, value: Option<&Box<[u8]>>) {
        builder.append_option(value);
    }

    fn length(builder: &BinaryBuilder) -> usize {
        builder.len()
    }

    fn finish(mut builder: BinaryBuilder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

/// A column of lists being made.
pub(super) struct Lists<V: Value> {
    values: V::Builder,
    ends: Vec<i32>,
}

impl<V: Value> Lists<V> {
    pub(super) fn new(capacity: usize) -> Self {
        let mut ends = Vec::with_capacity(capacity + 1);
        ends.push(0);
        Self { values: V::builder(capacity), ends }
    }

    pub(super) fn append(&mut self, value: Option<&V::Owned>) {
        V::append(&mut self.values, value);
    }

    /// Ends a list.
    pub(super) fn end(&mut self) {
        self.ends.push(V::length(&self.values) as i32);
    }

    /// Offsets, and the values of all lists one after the other, of the type of `codec`.
    pub(super) fn into_parts(self, codec: &Codec) -> Result<(OffsetBuffer<i32>, ArrayRef)> {
        Ok((OffsetBuffer::new(self.ends.into()), codec.decode(V::finish(self.values))?))
    }

    /// The column.
    pub(super) fn finish(self, codec: &Codec) -> Result<ArrayRef> {
        let (offsets, values) = self.into_parts(codec)?;
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        Ok(Arc::new(ListArray::try_new(field, offsets, values, None)?))
    }
}

/// A column of lists taken apart: for each list, the range of its values in one column.
pub(super) fn open_lists(lists: &ArrayRef) -> (impl Fn(usize) -> std::ops::Range<usize>, &ArrayRef) {
    let lists = lists.as_list::<i32>();
    let offsets = lists.value_offsets();
    (move |row: usize| offsets[row] as usize..offsets[row + 1] as usize, lists.values())
}
