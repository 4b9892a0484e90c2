//! `GroupStore` against a plain map: random touches, removals, snapshots in parts, restores at any parallelism.

use super::testing::Kept;
use super::*;
use crate::error::Result;
use crate::state::key_group::{key_groups, task_of};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;

const MAX_PARALLELISM: usize = 16;

/// A list of numbers for each group.
#[derive(Default)]
struct Lists(Vec<Vec<i64>>);

impl Payload for Lists {
    fn resize(&mut self, groups: usize) {
        self.0.resize(groups, Vec::new());
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let lists = groups.iter().map(|g| Some(self.0[*g as usize].iter().map(|v| Some(*v))));
        Ok(vec![Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))])
    }

    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        for (row, group) in groups.iter().enumerate() {
            let list = columns[0].as_list::<i32>().value(row);
            self.0[*group as usize].extend(list.as_primitive::<Int64Type>().values());
        }
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        self.0[group as usize] = Vec::new();
    }

    fn size(&self) -> usize {
        self.0.iter().map(|l| 24 + l.len() * 8).sum()
    }

    fn fresh(&self) -> Result<Self> {
        Ok(Self::default())
    }
}

type Model = BTreeMap<Option<String>, (Vec<i64>, i64)>;

fn store(memory: &Arc<MemoryBudget>, ttl_ms: u64) -> GroupStore<Lists> {
    let mut store = GroupStore::new("lists", &[DataType::Utf8], Lists::default()).unwrap();
    store.open(StoreContext {
        owner: "test-0".into(),
        max_parallelism: MAX_PARALLELISM,
        memory: memory.clone(),
        ttl_ms,
        tracks: true,
        ..StoreContext::default()
    });
    // Many parts, with batches between them.
    store.set_part_bytes(1);
    store
}

/// What a store holds; it is empty afterwards.
fn contents(store: &mut GroupStore<Lists>) -> BTreeMap<Option<String>, Vec<i64>> {
    let mut all = BTreeMap::new();
    while let Some(groups) = store.drain().unwrap() {
        let keys = store.keys(&groups).unwrap();
        let keys = keys[0].as_string::<i32>();
        for (row, group) in groups.iter().enumerate() {
            let key = keys.is_valid(row).then(|| keys.value(row).to_owned());
            assert!(all.insert(key, store.payload().0[*group as usize].clone()).is_none(), "twice");
        }
    }
    all
}

fn run(seed: u64, memory: &Arc<MemoryBudget>, ttl_ms: u64, keys: u32) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut tested, mut model, mut kept) = (store(memory, ttl_ms), Model::new(), Kept::default());
    let mut groups = Vec::new();
    let mut now = 1_000;
    // The model at the barrier of the snapshot that is being given.
    let mut giving: Option<(StateWriter, Model)> = None;
    let mut snapshots = 0;
    for step in 0..400 {
        now += rng.random_range(0..20);
        let rows = rng.random_range(1..60);
        let texts: Vec<Option<String>> = (0..rows)
            .map(|_| rng.random_bool(0.98).then(|| format!("key {}", rng.random_range(0..keys))))
            .collect();
        let column: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        tested.touch(&[column], rows, now, &mut groups).unwrap();
        for (row, text) in texts.iter().enumerate() {
            let held = model.entry(text.clone()).or_default();
            if ttl_ms > 0 && held.1 + ttl_ms as i64 <= now {
                held.0.clear();
            }
            held.1 = now;
            assert_eq!(
                tested.payload().0[groups[row] as usize],
                held.0,
                "seed {seed}, step {step}, {text:?}"
            );
        }
        let mut gone = Vec::new();
        for (row, text) in texts.iter().enumerate() {
            let value = rng.random_range(-9..9);
            tested.payload_mut().0[groups[row] as usize].push(value);
            let held = model.entry(text.clone()).or_default();
            held.0.push(value);
            held.1 = now;
        }
        for (row, text) in texts.iter().enumerate() {
            if rng.random_bool(0.2) {
                gone.push(groups[row]);
                model.remove(text);
            }
        }
        tested.remove(gone).unwrap();
        tested.settle(now).unwrap();
        match giving.take() {
            None if rng.random_bool(0.1) => {
                let kind = if rng.random_bool(0.2) { SnapshotKind::Full } else { SnapshotKind::Delta };
                let mut writer = StateWriter::new(kind);
                let before = model.clone();
                let progress = tested.snapshot(&mut writer).unwrap();
                assert!(snapshots > 0 || writer.kind() == SnapshotKind::Full);
                kept.add(&mut writer, true);
                snapshots += 1;
                giving = Some((writer, before));
                if progress == SnapshotProgress::More {
                    continue;
                }
            }
            Some((mut writer, before)) => {
                let progress = tested.continue_snapshot(&mut writer).unwrap();
                kept.add(&mut writer, false);
                giving = Some((writer, before));
                if progress == SnapshotProgress::More {
                    continue;
                }
            }
            None => continue,
        }
        let Some((_, before)) = giving.take() else { unreachable!() };
        check_restored(&kept, &before, memory, ttl_ms, rng.random_range(1..4), now);
    }
    assert!(snapshots > 5);
    drop(tested);
    assert_eq!(memory.used(), 0);
}

/// All that was kept, restored to `parallelism` tasks, is what the model held.
fn check_restored(
    kept: &Kept,
    model: &Model,
    memory: &Arc<MemoryBudget>,
    ttl_ms: u64,
    parallelism: usize,
    now: i64,
) {
    let mut all = BTreeMap::new();
    for task in 0..parallelism {
        // Opening the disk takes long: one task restores beyond the budget, the others within.
        let unlimited = MemoryBudget::unlimited();
        let mut restored = store(if parallelism == 1 { memory } else { &unlimited }, ttl_ms);
        restored.restore(&mut kept.reader(task, parallelism, MAX_PARALLELISM)).unwrap();
        for (key, value) in contents(&mut restored) {
            let column: ArrayRef = Arc::new(StringArray::from(vec![key.clone()]));
            let mut groups = Vec::new();
            key_groups(&[column], MAX_PARALLELISM, &mut groups).unwrap();
            assert_eq!(task_of(groups[0], MAX_PARALLELISM, parallelism), task);
            all.insert(key, value);
        }
    }
    let is_live = |touched: i64| ttl_ms == 0 || touched + ttl_ms as i64 > now;
    for (key, (value, touched)) in model {
        match all.remove(key) {
            Some(restored) => assert_eq!(&restored, value, "{key:?}"),
            None => assert!(!is_live(*touched), "{key:?} is lost"),
        }
    }
    assert!(all.is_empty(), "came back from the dead: {all:?}");
}

#[test]
fn snapshots_hold_what_was_there_at_their_barrier() {
    for seed in 0..12 {
        run(seed, &MemoryBudget::unlimited(), 0, [20, 300, 5_000][seed as usize % 3]);
    }
}

#[test]
fn what_is_old_was_never_there() {
    for seed in 20..32 {
        run(seed, &MemoryBudget::unlimited(), 500, [20, 300, 5_000][seed as usize % 3]);
    }
}

/// A budget that holds a small part of the state, so that groups come and go between memory and disk.
fn tiny() -> (tempfile::TempDir, Arc<MemoryBudget>) {
    let dir = tempfile::tempdir().unwrap();
    let memory = MemoryBudget::new(20_000, dir.path().to_path_buf());
    (dir, memory)
}

#[test]
fn what_does_not_fit_is_on_disk() {
    for seed in 40..42 {
        let (dir, memory) = tiny();
        run(seed, &memory, 0, [300, 5_000][seed as usize % 2]);
        // The database's worker may be the last to let go of it.
        let left = || {
            let names = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name());
            // The directory itself is held for as long as the budget is there.
            names.filter(|name| name != "lock").count()
        };
        for _ in 0..500 {
            if left() == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(left(), 0, "files are left");
    }
}

#[test]
fn what_is_old_is_gone_from_disk_too() {
    for seed in 50..52 {
        let (_dir, memory) = tiny();
        run(seed, &memory, 1_000, [300, 5_000][seed as usize % 2]);
    }
}

/// State of ten times the budget: memory stays near it, and every value is right.
#[test]
fn ten_times_the_budget_stays_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let memory = MemoryBudget::new(1 << 20, dir.path().to_path_buf());
    let mut tested = store(&memory, 0);
    let (mut groups, mut most) = (Vec::new(), 0);
    const KEYS: i64 = 100_000;
    for round in 0..2 {
        for first in (0..KEYS).step_by(2_000) {
            let keys: ArrayRef =
                Arc::new(StringArray::from_iter_values((first..first + 2_000).map(|i| format!("key {i}"))));
            tested.touch(&[keys], 2_000, 0, &mut groups).unwrap();
            for (i, group) in groups.iter().enumerate() {
                let list = &mut tested.payload_mut().0[*group as usize];
                assert_eq!(list.len(), round);
                list.push(first + i as i64);
            }
            tested.settle(0).unwrap();
            most = most.max(tested.size());
        }
    }
    assert!(most < 2 << 20, "{most}");
    assert!(tested.spilled_bytes() > 4 << 20, "{}", tested.spilled_bytes());
    let all = contents(&mut tested);
    assert_eq!(all.len(), KEYS as usize);
    assert!(all.values().all(|v| v.len() == 2 && v[0] == v[1]));
}

#[test]
fn a_delta_holds_what_has_changed() {
    let memory = MemoryBudget::unlimited();
    let (mut tested, mut groups) = (store(&memory, 0), Vec::new());
    tested.set_part_bytes(512 << 10);
    let key = |range: std::ops::Range<i32>| -> [ArrayRef; 1] {
        [Arc::new(StringArray::from_iter_values(range.map(|i| i.to_string())))]
    };
    let taken = |tested: &mut GroupStore<Lists>, kind| {
        let mut writer = StateWriter::new(kind);
        let mut kept = Kept::default();
        let mut progress = tested.snapshot(&mut writer).unwrap();
        kept.add(&mut writer, true);
        let mut parts = 1;
        while progress == SnapshotProgress::More {
            progress = tested.continue_snapshot(&mut writer).unwrap();
            kept.add(&mut writer, false);
            parts += 1;
        }
        (kept.num_rows(), parts, writer.kind())
    };
    tested.touch(&key(0..50_000), 50_000, 0, &mut groups).unwrap();
    let (rows, parts, kind) = taken(&mut tested, SnapshotKind::Delta);
    assert_eq!((rows, kind), (50_000, SnapshotKind::Full));
    assert!(parts > 5, "{parts}");
    tested.touch(&key(100..600), 500, 0, &mut groups).unwrap();
    tested.remove(groups[..100].to_vec()).unwrap();
    assert_eq!(taken(&mut tested, SnapshotKind::Delta), (500, 1 + 1, SnapshotKind::Delta));
    assert_eq!(taken(&mut tested, SnapshotKind::Delta), (0, 1, SnapshotKind::Delta));
    assert_eq!(taken(&mut tested, SnapshotKind::Full).0, 49_900);
    // A snapshot that was not given to its end is no ground for a delta.
    tested.touch(&key(0..30_000), 30_000, 0, &mut groups).unwrap();
    let mut writer = StateWriter::new(SnapshotKind::Delta);
    assert_eq!(tested.snapshot(&mut writer).unwrap(), SnapshotProgress::More);
    assert_eq!(taken(&mut tested, SnapshotKind::Delta).2, SnapshotKind::Full);
}

#[test]
fn state_of_another_query_is_refused() {
    let memory = MemoryBudget::unlimited();
    let (mut tested, mut groups) = (store(&memory, 0), Vec::new());
    tested.set_part_bytes(512 << 10);
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    tested.touch(&[keys], 1, 0, &mut groups).unwrap();
    let (mut writer, mut kept) = (StateWriter::new(SnapshotKind::Full), Kept::default());
    tested.snapshot(&mut writer).unwrap();
    kept.add(&mut writer, true);
    let mut other = GroupStore::new("lists", &[DataType::Int64], Lists::default()).unwrap();
    let error = other.restore(&mut kept.reader(0, 1, MAX_PARALLELISM)).unwrap_err().to_string();
    assert!(error.contains("key_0 Utf8") && error.contains("key_0 Int64"), "{error}");
}
