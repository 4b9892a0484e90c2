//! `RowStore` against plain lists: random rows in and out, reads, snapshots, restores.

use super::testing::Kept;
use super::*;
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;

type Row = (Option<String>, Option<i32>);
/// Of each key, rows with their number and time.
type Model = BTreeMap<i32, Vec<(Row, i32, i64)>>;

const MAX_PARALLELISM: usize = 16;

fn store(memory: &Arc<MemoryBudget>, ttl_ms: u64) -> RowStore {
    let fields = vec![Field::new("s", DataType::Utf8, true), Field::new("v", DataType::Int32, true)];
    let mut store = RowStore::new("rows", &[DataType::Int32], Arc::new(Schema::new(fields))).unwrap();
    store.open(StoreContext {
        owner: "rows-0".into(),
        max_parallelism: MAX_PARALLELISM,
        memory: memory.clone(),
        ttl_ms,
        tracks: true,
    });
    store
}

fn records(rows: &[Row]) -> RecordBatch {
    let texts: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|r| r.0.clone())));
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.1)));
    RecordBatch::try_from_iter_with_nullable([("s", texts, true), ("v", numbers, true)]).unwrap()
}

fn keys(keys: &[i32]) -> [ArrayRef; 1] {
    [Arc::new(Int32Array::from(keys.to_vec()))]
}

/// All rows of `wanted`, in parts.
fn read(store: &mut RowStore, wanted: &[i32], now: i64) -> Vec<(usize, Row, i32, u32)> {
    let mut probe = store.probe(&keys(wanted), wanted.len(), now).unwrap();
    let mut all = Vec::new();
    while let Some(found) = store.matches(&mut probe, 7).unwrap() {
        assert!(found.ids.len() <= 7);
        let numbers = store.numbers(&found.ids);
        let (texts, values) =
            (found.rows.column(0).as_string::<i32>(), found.rows.column(1).as_primitive::<Int32Type>());
        for (i, number) in numbers.iter().enumerate() {
            let text = texts.is_valid(i).then(|| texts.value(i).to_owned());
            let value = values.is_valid(i).then(|| values.value(i));
            all.push((found.probe.value(i) as usize, (text, value), *number, found.ids[i]));
        }
    }
    all
}

fn expected(model: &Model, wanted: &[i32], now: i64, ttl: i64) -> Vec<(usize, Row, i32)> {
    let live = |time: i64| ttl == 0 || time + ttl > now;
    let rows = |(i, key): (usize, &i32)| {
        let rows = model.get(key).cloned().unwrap_or_default().into_iter();
        rows.filter(|r| live(r.2)).map(|(row, n, _)| (i, row, n)).collect::<Vec<_>>()
    };
    wanted.iter().enumerate().flat_map(rows).collect()
}

fn run(seed: u64, memory: &Arc<MemoryBudget>, ttl: u64, key_count: i32) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut tested, mut model, mut kept) = (store(memory, ttl), Model::new(), Kept::default());
    let mut now = 1_000;
    let row = |rng: &mut SmallRng| -> Row {
        let text = ["", "a", "longer than sixteen bytes"][rng.random_range(0..3)];
        (rng.random_bool(0.9).then(|| text.to_owned()), rng.random_bool(0.8).then(|| rng.random_range(0..3)))
    };
    for step in 0..300 {
        now += rng.random_range(0..30);
        let n = rng.random_range(1..40);
        let batch: Vec<i32> = (0..n).map(|_| rng.random_range(0..key_count)).collect();
        let rows: Vec<Row> = (0..n).map(|_| row(&mut rng)).collect();
        let numbers: Vec<i32> = (0..n).map(|_| rng.random_range(0..3)).collect();
        if rng.random_bool(0.6) {
            tested.append(&keys(&batch), &records(&rows), Some(&numbers), now).unwrap();
            for i in 0..batch.len() {
                model.entry(batch[i]).or_default().push((rows[i].clone(), numbers[i], now));
            }
        } else {
            let found = tested.retract(&keys(&batch), &records(&rows), now).unwrap();
            for i in 0..batch.len() {
                let held = model.entry(batch[i]).or_default();
                held.retain(|r| ttl == 0 || r.2 + ttl as i64 > now);
                let at = held.iter().position(|r| r.0 == rows[i]);
                assert_eq!(found[i], at.map(|at| held.remove(at).1), "seed {seed}, step {step}");
            }
        }
        let wanted: Vec<i32> = (0..10).map(|_| rng.random_range(0..key_count)).collect();
        let seen = read(&mut tested, &wanted, now);
        let plain: Vec<_> = seen.iter().map(|(i, row, n, _)| (*i, row.clone(), *n)).collect();
        assert_eq!(plain, expected(&model, &wanted, now, ttl as i64), "seed {seed}, step {step}");
        if rng.random_bool(0.3) && ttl == 0 && !seen.is_empty() {
            let (i, _, _, id) = &seen[0];
            tested.change_numbers(&[*id], 5, now).unwrap();
            model.get_mut(&wanted[*i]).unwrap()[0].1 += 5;
        }
        if rng.random_bool(0.05) {
            tested.clear(&keys(&batch[..1]), 1, now).unwrap();
            model.remove(&batch[0]);
        }
        tested.settle(now).unwrap();
        if rng.random_bool(0.1) {
            let mut writer = StateWriter::new(SnapshotKind::Delta);
            let mut progress = tested.snapshot(&mut writer).unwrap();
            kept.add(&mut writer, true);
            while progress == SnapshotProgress::More {
                progress = tested.continue_snapshot(&mut writer).unwrap();
                kept.add(&mut writer, false);
            }
            let all: Vec<i32> = (0..key_count).collect();
            let mut restored = Vec::new();
            for task in 0..3 {
                let mut other = store(&MemoryBudget::unlimited(), ttl);
                other.restore(&mut kept.reader(task, 3, MAX_PARALLELISM)).unwrap();
                restored.extend(read(&mut other, &all, now).into_iter().map(|(i, row, n, _)| (i, row, n)));
            }
            restored.sort_by_key(|r| r.0);
            assert_eq!(restored, expected(&model, &all, now, ttl as i64), "seed {seed}, step {step}");
        }
    }
    drop(tested);
    assert_eq!(memory.used(), 0);
}

#[test]
fn rows_come_back_in_their_order() {
    for seed in 0..8 {
        run(seed, &MemoryBudget::unlimited(), 0, [3, 60][seed as usize % 2]);
    }
}

#[test]
fn each_row_has_its_own_time_to_live() {
    for seed in 10..18 {
        run(seed, &MemoryBudget::unlimited(), 400, [3, 60][seed as usize % 2]);
    }
}

#[test]
fn rows_that_do_not_fit_are_on_disk() {
    for seed in [20, 21, 23] {
        let dir = tempfile::tempdir().unwrap();
        let memory = MemoryBudget::new(20_000, dir.path().to_path_buf());
        run(seed, &memory, [0, 400][seed as usize % 2], [60, 500][seed as usize / 2 % 2]);
    }
}

#[test]
fn rows_without_columns_are_counted() {
    let memory = MemoryBudget::unlimited();
    let mut tested = RowStore::new("rows", &[DataType::Int32], Arc::new(Schema::empty())).unwrap();
    tested.open(StoreContext { memory: memory.clone(), ..StoreContext::default() });
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(2));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    tested.append(&keys(&[1, 1]), &rows, None, 0).unwrap();
    assert_eq!(tested.retract(&keys(&[1, 2]), &rows, 0).unwrap(), [Some(0), None]);
    let mut probe = tested.probe(&keys(&[2, 1]), 2, 0).unwrap();
    let found = tested.matches(&mut probe, 10).unwrap().unwrap();
    assert_eq!((found.rows.num_rows(), found.probe.value(0)), (1, 1));
}
