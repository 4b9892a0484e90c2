//! Every accumulator: split, merged, changed row by row and taken back gives what one pass gives.

use super::*;
use arrow::array::*;
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{self as types, Field, TimeUnit};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;

const GROUPS: u32 = 5;

fn call(function: &str, distinct: bool) -> AggregateCall {
    AggregateCall {
        function: function.into(),
        arguments: vec![0],
        distinct,
        filter: None,
        data_type: DataType::Null,
        name: "x".into(),
        monotone: false,
    }
}

fn column(data_type: &DataType, rows: usize, rng: &mut SmallRng) -> ArrayRef {
    let numbers =
        Int32Array::from_iter((0..rows).map(|_| rng.random_bool(0.8).then(|| rng.random_range(-3..4))));
    let numbers: ArrayRef = Arc::new(numbers);
    match data_type {
        DataType::Utf8 => {
            let texts = numbers.as_primitive::<types::Int32Type>().iter().map(|n| n.map(|n| format!("é{n}")));
            Arc::new(StringArray::from_iter(texts))
        }
        DataType::List(_) => Arc::new(ListArray::from_iter_primitive::<types::Int32Type, _, _>(
            numbers.as_primitive::<types::Int32Type>().iter().map(|n| n.map(|n| vec![Some(n), None])),
        )),
        DataType::Timestamp(..) => cast(&cast(&numbers, &DataType::Int64).unwrap(), data_type).unwrap(),
        _ => cast(&numbers, data_type).unwrap(),
    }
}

/// Functions, the types they are tried with, and whether the order of rows matters to them.
fn cases() -> Vec<(&'static str, DataType, bool)> {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let numbers = [
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(10, 2),
    ];
    let others = [DataType::Utf8, DataType::Boolean, DataType::Date32, time, list];
    let mut cases = Vec::new();
    for data_type in numbers.iter().chain(&others) {
        cases.extend(["min", "max", "count", "collect"].map(|f| (f, data_type.clone(), false)));
        cases.extend(["first_value", "last_value", "array_agg"].map(|f| (f, data_type.clone(), true)));
    }
    for data_type in &numbers {
        cases.extend(["sum", "avg"].map(|f| (f, data_type.clone(), false)));
    }
    for data_type in &numbers[2..6] {
        cases.extend(["var_pop", "stddev"].map(|f| (f, data_type.clone(), false)));
    }
    cases.push(("listagg", DataType::Utf8, true));
    cases
}

fn all() -> Vec<u32> {
    (0..GROUPS).collect()
}

fn make(function: &str, data_type: &DataType, distinct: bool, retracts: bool) -> Box<dyn Accumulator> {
    let mut made = accumulator(&call(function, distinct), std::slice::from_ref(data_type), retracts).unwrap();
    made.resize(GROUPS as usize);
    made
}

#[test]
fn splitting_merging_and_changing_agree_with_one_pass() {
    let mut rng = SmallRng::seed_from_u64(7);
    for (function, data_type, _) in cases() {
        for distinct in [false, true] {
            for round in 0..4 {
                let rows = rng.random_range(0..60);
                let values = [column(&data_type, rows, &mut rng)];
                let groups: Vec<u32> = (0..rows).map(|_| rng.random_range(0..GROUPS - 1)).collect();
                let filter = BooleanArray::from_iter(
                    (0..rows).map(|_| [Some(true), Some(false), None][rng.random_range(0..3)]),
                );
                let filter = (round % 2 == 0).then_some(&filter);
                let name = format!("{function}({data_type}), distinct: {distinct}");

                let mut whole = make(function, &data_type, distinct, false);
                whole.update(&values, &groups, filter).unwrap();
                let expected = whole.evaluate(&all()).unwrap();

                // The first rows in one accumulator, the rest in another; merged by their states.
                let cut = rows / 2;
                let (mut a, mut b) = (
                    make(function, &data_type, distinct, false),
                    make(function, &data_type, distinct, false),
                );
                let slice = |start, length| [values[0].slice(start, length)];
                let part = |start, length| filter.map(|f| f.slice(start, length));
                a.update(&slice(0, cut), &groups[..cut], part(0, cut).as_ref()).unwrap();
                b.update(&slice(cut, rows - cut), &groups[cut..], part(cut, rows - cut).as_ref()).unwrap();
                let order: Vec<u32> = all().into_iter().rev().collect();
                a.merge(&b.state(&order).unwrap(), &order).unwrap();
                assert_eq!(&a.evaluate(&all()).unwrap(), &expected, "merged {name}");

                // Row by row, with values before and after.
                let mut changed = make(function, &data_type, distinct, false);
                let signs = vec![1; rows];
                let (before, after) =
                    changed.change(&values, &groups, Changes { signs: &signs, clears: &[] }, filter).unwrap();
                assert_eq!(&changed.evaluate(&all()).unwrap(), &expected, "changed {name}");
                for row in 0..rows {
                    match groups[..row].iter().rposition(|g| *g == groups[row]) {
                        Some(last) => {
                            assert_eq!(&before.slice(row, 1), &after.slice(last, 1), "chain of {name}")
                        }
                        None => {
                            let fresh = make(function, &data_type, distinct, false).evaluate(&[0]).unwrap();
                            assert_eq!(&before.slice(row, 1), &fresh, "first of {name}");
                        }
                    }
                }

                for group in all() {
                    whole.clear(group);
                }
                let fresh = make(function, &data_type, distinct, false).evaluate(&all()).unwrap();
                assert_eq!(&whole.evaluate(&all()).unwrap(), &fresh, "cleared {name}");
            }
        }
    }
}

#[test]
fn rows_taken_back_were_never_there() {
    let mut rng = SmallRng::seed_from_u64(11);
    for (function, data_type, order_matters) in cases() {
        for distinct in [false, true] {
            let rows = 40;
            let values = column(&data_type, rows, &mut rng);
            let groups: Vec<u32> = (0..rows).map(|_| rng.random_range(0..GROUPS)).collect();
            if order_matters {
                // Of equal values the earliest is taken back, so these are not the same; see the next test.
                continue;
            }
            let kept = rng.random_range(0..rows);
            let mut gone: Vec<u32> = (kept as u32..rows as u32).collect();
            for i in 0..gone.len() {
                let j = rng.random_range(0..gone.len());
                gone.swap(i, j);
            }
            let back = take(&values, &UInt32Array::from(gone.clone()), None).unwrap();
            let both = concat(&[&values, &back]).unwrap();
            let both_groups: Vec<u32> =
                groups.iter().copied().chain(gone.iter().map(|row| groups[*row as usize])).collect();
            let signs: Vec<i8> = (0..both.len()).map(|i| if i < rows { 1 } else { -1 }).collect();
            let mut changed = make(function, &data_type, distinct, true);
            changed.change(&[both], &both_groups, Changes { signs: &signs, clears: &[] }, None).unwrap();
            let mut expected = make(function, &data_type, distinct, false);
            expected.update(&[values.slice(0, kept)], &groups[..kept], None).unwrap();
            let name = format!("{function}({data_type}), distinct: {distinct}");
            assert_eq!(&changed.evaluate(&all()).unwrap(), &expected.evaluate(&all()).unwrap(), "{name}");

            // And the state of the retractable form goes into another and can be taken back there.
            let mut restored = make(function, &data_type, distinct, true);
            restored.merge(&changed.state(&all()).unwrap(), &all()).unwrap();
            assert_eq!(
                &restored.evaluate(&all()).unwrap(),
                &expected.evaluate(&all()).unwrap(),
                "{name} restored"
            );
            let signs = vec![-1; kept];
            let (values, groups) = (values.slice(0, kept), &groups[..kept]);
            restored.change(&[values], groups, Changes { signs: &signs, clears: &[] }, None).unwrap();
            let fresh = make(function, &data_type, distinct, true);
            assert_eq!(
                &restored.evaluate(&all()).unwrap(),
                &fresh.evaluate(&all()).unwrap(),
                "{name} emptied"
            );
        }
    }
}

#[test]
fn lists_lose_the_earliest_of_equal_values() {
    let values: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a", "c", "a"]));
    let signs = [1, 1, 1, 1, -1];
    for (function, expected) in [("listagg", "b,a,c"), ("first_value", "b"), ("last_value", "c")] {
        let mut made = make(function, &DataType::Utf8, false, true);
        made.change(std::slice::from_ref(&values), &[0; 5], Changes { signs: &signs, clears: &[] }, None)
            .unwrap();
        let value = made.evaluate(&[0]).unwrap();
        assert_eq!(value.as_string::<i32>().value(0), expected, "{function}");
        let mut restored = make(function, &DataType::Utf8, false, true);
        restored.merge(&made.state(&[0]).unwrap(), &[1]).unwrap();
        assert_eq!(&restored.evaluate(&[1]).unwrap(), &value, "{function}");
    }
}

#[test]
fn sums_wrap_and_are_null_without_values() {
    let values: ArrayRef = Arc::new(Int32Array::from(vec![Some(i32::MAX), Some(1), None]));
    let mut sum = make("sum", &DataType::Int32, false, false);
    sum.update(&[values], &[0, 0, 1], None).unwrap();
    let expected: ArrayRef = Arc::new(Int32Array::from(vec![Some(i32::MIN), None]));
    assert_eq!(&sum.evaluate(&[0, 1]).unwrap(), &expected);

    let most = super::sum::DECIMAL_LIMIT - 1;
    let values: ArrayRef =
        Arc::new(Decimal128Array::from(vec![most, 1, 5]).with_data_type(DataType::Decimal128(38, 0)));
    let mut sum = make("sum", values.data_type(), false, false);
    sum.update(&[values], &[0, 0, 1], None).unwrap();
    let expected: ArrayRef =
        Arc::new(Decimal128Array::from(vec![None, Some(5)]).with_data_type(DataType::Decimal128(38, 0)));
    assert_eq!(&sum.evaluate(&[0, 1]).unwrap(), &expected);
}

#[test]
fn averages_truncate_round_and_keep_their_type() {
    let check = |values: ArrayRef, expected: ArrayRef| {
        let mut average = make("avg", values.data_type(), false, false);
        average.update(std::slice::from_ref(&values), &vec![0; values.len()], None).unwrap();
        assert_eq!(&average.evaluate(&[0, 1]).unwrap(), &expected);
    };
    check(Arc::new(Int64Array::from(vec![2, -5, -2])), Arc::new(Int64Array::from(vec![Some(-1), None])));
    check(Arc::new(Int8Array::from(vec![127, 127, 125])), Arc::new(Int8Array::from(vec![Some(126), None])));
    check(
        Arc::new(Float32Array::from(vec![1.5, 2.5, 4.0])),
        Arc::new(Float32Array::from(vec![Some(2.6666667), None])),
    );
    let decimals = Decimal128Array::from(vec![125, 226, 226]).with_data_type(DataType::Decimal128(10, 2));
    let average =
        Decimal128Array::from(vec![Some(1_923_333), None]).with_data_type(DataType::Decimal128(38, 6));
    check(Arc::new(decimals), Arc::new(average));
}

#[test]
fn variances_are_those_of_flink() {
    let check = |function: &str, values: ArrayRef, expected: ArrayRef| {
        let mut variance = make(function, values.data_type(), false, false);
        variance.update(std::slice::from_ref(&values), &vec![0; values.len()], None).unwrap();
        assert_eq!(&variance.evaluate(&[0]).unwrap(), &expected, "{function}");
    };
    let doubles = || Arc::new(Float64Array::from(vec![1.5, 2.5, 4.0]));
    check("stddev_pop", doubles(), Arc::new(Float64Array::from(vec![1.027402333828163])));
    check("stddev_samp", doubles(), Arc::new(Float64Array::from(vec![1.2583057392117918])));
    check("var_pop", doubles(), Arc::new(Float64Array::from(vec![1.055555555555556])));
    check("variance", doubles(), Arc::new(Float64Array::from(vec![1.583333333333334])));
    let longs = || Arc::new(Int64Array::from(vec![2, -5]));
    check("stddev_pop", longs(), Arc::new(Int64Array::from(vec![3])));
    check("stddev_samp", longs(), Arc::new(Int64Array::from(vec![5])));
    check("var_pop", longs(), Arc::new(Int64Array::from(vec![12])));
    check("var_samp", longs(), Arc::new(Int64Array::from(vec![25])));
    check("var_samp", Arc::new(Int64Array::from(vec![2])), Arc::new(Int64Array::from(vec![None])));
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    let refused = |function: &str, data_type: DataType| {
        accumulator(&call(function, false), &[data_type], false).err().map(|e| e.to_string())
    };
    assert_eq!(
        refused("sum", DataType::Utf8).as_deref(),
        Some("The aggregate SUM(Utf8) is not supported yet.")
    );
    assert!(refused("median", DataType::Int32).is_some());
    assert!(!is_supported("median") && is_supported("listagg"));
}
