//! Tests of checkpoints at rest: rows in are rows out, damage is seen, what is needed is never removed.

use super::place::{Place, Remote};
use super::*;
use crate::error::ErrorKind;
use crate::plan::OperatorId;
use crate::state::key_group::groups_of;
use crate::state::{SnapshotKind, StateRows};
use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle, Runtime};

const GROUPS: usize = 128;

pub(super) fn handle() -> Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let start = || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    RUNTIME.get_or_init(start).handle().clone()
}

pub(super) fn open(root: &Path) -> CheckpointStorage {
    CheckpointStorage::open(root.to_str().unwrap(), &handle()).unwrap()
}

fn id() -> OperatorId {
    OperatorId("groupaggregate-0123456789abcdef".into())
}

fn column(values: impl Array + 'static) -> ArrayRef {
    Arc::new(values)
}

/// A column of every type that state has, with NULLs, `rows` rows.
fn all_types(rng: &mut SmallRng, rows: usize) -> RecordBatch {
    let mut ints = |null: f64| -> Vec<Option<i64>> {
        (0..rows).map(|_| (!rng.random_bool(null)).then(|| rng.random())).collect()
    };
    let (a, b, c) = (ints(0.0), ints(0.3), ints(0.9));
    let text: Vec<Option<String>> =
        b.iter().map(|n| n.map(|n| "é".repeat((n % 7).unsigned_abs() as usize) + &n.to_string())).collect();
    let offsets = |each: usize| OffsetBuffer::from_lengths(std::iter::repeat_n(each, rows));
    let longs = || column(Int64Array::from_iter(a.iter().chain(&b).copied()));
    let texts = || column(StringArray::from_iter(text.iter().chain(&text)));
    let entries = StructArray::from(vec![
        (
            Arc::new(Field::new("key", DataType::Utf8, false)),
            column(StringArray::from_iter_values((0..2 * rows).map(|n| n.to_string()))),
        ),
        (Arc::new(Field::new("value", DataType::Int64, true)), longs()),
    ]);
    let entry = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i8", column(b.iter().map(|n| n.map(|n| n as i8)).collect::<Int8Array>())),
        ("i16", column(b.iter().map(|n| n.map(|n| n as i16)).collect::<Int16Array>())),
        ("i32", column(c.iter().map(|n| n.map(|n| n as i32)).collect::<Int32Array>())),
        ("i64", column(Int64Array::from(b.clone()))),
        ("u32", column(UInt32Array::from_iter_values(a.iter().map(|n| n.unwrap_or(0) as u32)))),
        ("u64", column(UInt64Array::from_iter_values(a.iter().map(|n| n.unwrap_or(0) as u64)))),
        ("f32", column(b.iter().map(|n| n.map(|n| n as f32)).collect::<Float32Array>())),
        ("f64", column(c.iter().map(|n| n.map(|n| n as f64)).collect::<Float64Array>())),
        ("bool", column(b.iter().map(|n| n.map(|n| n > 0)).collect::<BooleanArray>())),
        ("utf8", column(StringArray::from_iter(&text))),
        ("binary", column(BinaryArray::from_iter(text.iter().map(|t| t.as_ref().map(|t| t.as_bytes()))))),
        (
            "decimal",
            column(
                Decimal128Array::from_iter(b.iter().map(|n| n.map(i128::from)))
                    .with_precision_and_scale(38, 18)
                    .unwrap(),
            ),
        ),
        ("date", column(b.iter().map(|n| n.map(|n| n as i32)).collect::<Date32Array>())),
        ("time", column(c.iter().map(|n| n.map(|n| n as i32)).collect::<Time32MillisecondArray>())),
        ("ts", column(TimestampMillisecondArray::from(b.clone()))),
        ("ltz", column(TimestampNanosecondArray::from(c.clone()).with_timezone("UTC"))),
        ("interval", column(DurationMillisecondArray::from(b.clone()))),
        (
            "list",
            column(ListArray::new(
                Arc::new(Field::new_list_field(DataType::Utf8, true)),
                offsets(2),
                texts(),
                None,
            )),
        ),
        ("map", column(MapArray::new(entry, offsets(2), entries, None, false))),
        (
            "row",
            column(StructArray::from(vec![(
                Arc::new(Field::new("x", DataType::Int64, true)),
                column(Int64Array::from(c.clone())),
            )])),
        ),
        ("none", column(NullArray::new(rows))),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|c| c.1).collect()).unwrap()
}

fn keyed(rng: &mut SmallRng, table: &str, rows: usize, groups: std::ops::Range<u32>) -> StateRows {
    StateRows {
        table: table.into(),
        key_groups: Some((0..rows).map(|_| rng.random_range(groups.clone())).collect()),
        rows: all_types(rng, rows),
        deleted: rng.random_bool(0.5).then(|| (0..rows).map(|_| rng.random_bool(0.2)).collect()),
    }
}

pub(super) fn unkeyed(value: i64) -> StateRows {
    let rows = RecordBatch::try_from_iter([("v", column(Int64Array::from(vec![value])))]).unwrap();
    StateRows { table: "global".into(), key_groups: None, rows, deleted: None }
}

/// Each row as a text with its table, key group and deletion: what must come back.
pub(super) fn texts(rows: &[StateRows]) -> Vec<String> {
    let mut out = Vec::new();
    for part in rows {
        for row in 0..part.rows.num_rows() {
            let group = part.key_groups.as_ref().map(|g| g[row]);
            let deleted = part.deleted.as_ref().is_some_and(|d| d.value(row));
            let values: Vec<String> = (part.rows.columns().iter())
                .map(|c| arrow::util::display::array_value_to_string(c, row).unwrap())
                .collect();
            out.push(format!("{} {group:?} {deleted} {} {values:?}", part.table, part.rows.schema()));
        }
    }
    out
}

pub(super) fn read(
    storage: &CheckpointStorage,
    entry: &OperatorEntry,
    task: usize,
    of: usize,
) -> Vec<StateRows> {
    let mut reader = storage.reader(entry, groups_of(task, GROUPS, of), task, of).unwrap();
    std::iter::from_fn(|| reader.next_rows().unwrap()).collect()
}

fn entry(instances: Vec<Vec<StateFile>>) -> OperatorEntry {
    OperatorEntry {
        operator_id: id().0,
        name: "GroupAggregate(…)".into(),
        parallelism: instances.len(),
        instances: instances.into_iter().map(|files| InstanceState { files }).collect(),
    }
}

fn manifest(checkpoint_id: u64, operators: Vec<OperatorEntry>) -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        runnel_version: "0.1.0".into(),
        checkpoint_id,
        kind: CheckpointKind::Checkpoint,
        job_id: "0123456789abcdef0123456789abcdef".into(),
        job_name: "job".into(),
        triggered_at_ms: 1,
        completed_at_ms: 2,
        max_parallelism: GROUPS,
        operators,
    }
}

/// A checkpoint of one task with a small file.
pub(super) fn small(storage: &CheckpointStorage, checkpoint: u64, value: i64) -> Manifest {
    let values = [("progress".to_string(), value.to_string().into_bytes())];
    let file = storage.write_state(checkpoint, &id(), 0, 1, &[unkeyed(value)], &values, SnapshotKind::Full);
    let manifest = manifest(checkpoint, vec![entry(vec![vec![file.unwrap()]])]);
    storage.write_manifest(&manifest).unwrap();
    manifest
}

fn all_files(root: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(all_files(&path));
        } else {
            files.insert(path);
        }
    }
    files
}

/// Rows in are rows out at any parallelism, each row at exactly the task that owns it, in order.
fn rows_come_back(storage: &CheckpointStorage, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    for (before, after) in [(1, 4), (4, 1), (3, 5), (2, 2)] {
        let mut all = Vec::new();
        let mut instances = Vec::new();
        for task in 0..before {
            let mut files = Vec::new();
            // One that had nothing when all was to be written begins with changes.
            let first = if task == 1 { SnapshotKind::Delta } else { SnapshotKind::Full };
            for kind in [first, SnapshotKind::Delta, SnapshotKind::Delta] {
                let groups = groups_of(task, GROUPS, before);
                let mut rows: Vec<StateRows> = (0..rng.random_range(0..4))
                    .map(|n| {
                        let count = rng.random_range(1..200);
                        keyed(&mut rng, ["groups", "values"][n % 2], count, groups.clone())
                    })
                    .collect();
                if task == 0 {
                    rows.push(unkeyed(seed as i64));
                }
                let values =
                    [("late".to_string(), vec![task as u8, files.len() as u8]), ("x".into(), vec![])];
                files.push(storage.write_state(9, &id(), task, 1, &rows, &values, kind).unwrap());
                all.extend(rows);
            }
            instances.push(files);
        }
        let entry = entry(instances);
        let mut found = 0;
        for task in 0..after {
            let owned = groups_of(task, GROUPS, after);
            let mut wanted = texts(&all);
            wanted.retain(|t| {
                let group = t.split_once("Some(").filter(|(before, _)| !before.contains("None"));
                match group {
                    Some((_, rest)) => {
                        let (group, _) = rest.split_once(')').unwrap();
                        owned.contains(&group.parse().unwrap())
                    }
                    None => task == 0,
                }
            });
            let got = texts(&read(storage, &entry, task, after));
            assert_eq!(got, wanted, "seed {seed}: task {task} of {after}, written by {before}");
            found += got.len();
            let reader = storage.reader(&entry, owned, task, after).unwrap();
            let values: Vec<Vec<u8>> = (0..before).map(|t| vec![t as u8, 2]).collect();
            assert_eq!(reader.values("late"), values.iter().map(Vec::as_slice).collect::<Vec<_>>());
            assert_eq!(reader.values("x").len(), before);
            assert!(reader.values("y").is_empty());
        }
        assert_eq!(found, texts(&all).len());
    }
}

#[test]
fn rows_in_are_rows_out_at_any_parallelism() {
    for seed in 0..10 {
        let directory = TempDir::new().unwrap();
        rows_come_back(&open(directory.path()), seed);
    }
}

#[test]
fn changes_may_stand_alone_and_all_state_only_comes_first() {
    let directory = TempDir::new().unwrap();
    let storage = open(directory.path());
    let write = |n: i64, kind| storage.write_state(9, &id(), 0, n as u64, &[unkeyed(n)], &[], kind).unwrap();
    // Of the operator's first checkpoint, when it had no state, there is no file.
    let changes = entry(vec![vec![write(1, SnapshotKind::Delta), write(2, SnapshotKind::Delta)]]);
    assert_eq!(texts(&read(&storage, &changes, 0, 1)), texts(&[unkeyed(1), unkeyed(2)]));
    let wrong = entry(vec![vec![write(3, SnapshotKind::Delta), write(4, SnapshotKind::Full)]]);
    let mut reader = storage.reader(&wrong, 0..GROUPS as u32, 0, 1).unwrap();
    reader.next_rows().unwrap();
    let error = reader.next_rows().unwrap_err();
    assert!(error.message().contains("it holds all state where changes are wanted"), "{}", error.message());
}

#[test]
fn large_batches_are_cut_and_slices_are_not_written_whole() {
    let directory = TempDir::new().unwrap();
    let storage = open(directory.path());
    let rows = 300_000;
    let values = column(Int64Array::from_iter_values(0..rows as i64));
    let wide = column(StringArray::from_iter_values((0..rows).map(|n| format!("{n:0100}"))));
    let batch = RecordBatch::try_from_iter([("n", values), ("s", wide)]).unwrap();
    let state = |batch: RecordBatch| StateRows {
        table: "t".into(),
        key_groups: Some((0..batch.num_rows()).map(|n| (n % GROUPS) as u32).collect()),
        rows: batch,
        deleted: None,
    };
    let mut file = storage.state_file(1, &id(), 0, 1, SnapshotKind::Full).unwrap();
    file.rows(&state(batch.clone())).unwrap();
    let whole = file.finish(&[]).unwrap();
    assert_eq!(whole.key_groups, Some((0, 127)));
    let parts = read(&storage, &entry(vec![vec![whole]]), 0, 1);
    assert!(parts.len() > 5 && parts.iter().all(|p| p.rows.get_array_memory_size() < 16 << 20));
    let back: Vec<RecordBatch> = parts.into_iter().map(|p| p.rows).collect();
    assert_eq!(arrow::compute::concat_batches(&batch.schema(), &back).unwrap(), batch);
    let part = state(batch.slice(5000, 100));
    let part = storage.write_state(1, &id(), 1, 1, &[part], &[], SnapshotKind::Full).unwrap();
    assert!(part.bytes < 100_000, "{}", part.bytes);
}

#[test]
fn a_file_given_up_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let storage = open(directory.path());
    let mut file = storage.state_file(1, &id(), 0, 1, SnapshotKind::Full).unwrap();
    file.rows(&unkeyed(1)).unwrap();
    assert_eq!(all_files(directory.path()).len(), 1);
    drop(file);
    assert!(all_files(directory.path()).is_empty());
}

#[test]
fn the_newest_whole_checkpoint_is_found() {
    let directory = TempDir::new().unwrap();
    let storage = open(directory.path());
    assert!(storage.latest().unwrap().is_none());
    assert_eq!(storage.next_checkpoint_id().unwrap(), 1);
    let first = small(&storage, 1, 10);
    small(&storage, 10, 20);
    storage.write_state(11, &id(), 0, 1, &[unkeyed(3)], &[], SnapshotKind::Full).unwrap();
    assert_eq!(storage.checkpoints().unwrap(), [1, 10]);
    assert_eq!(storage.next_checkpoint_id().unwrap(), 12);
    let (latest, passed) = storage.latest().unwrap().unwrap();
    assert_eq!(latest.checkpoint_id, 10);
    assert_eq!(passed, ["Checkpoint 11 is passed over: it has no manifest, so it was not finished."]);
    // A second process must not take the place of what is there.
    let error = storage.write_manifest(&manifest(10, vec![])).unwrap_err();
    assert!(error.message().contains("another process") && !error.retry(), "{error}");

    let missing = directory.path().join(&latest.operators[0].instances[0].files[0].path);
    std::fs::remove_file(&missing).unwrap();
    let (latest, passed) = storage.latest().unwrap().unwrap();
    assert_eq!(latest, first);
    assert_eq!(
        passed[1],
        format!(
            "Checkpoint 10 is passed over: {} is damaged: the file is missing. What sinks have published with it they \
             publish again.",
            missing.display()
        )
    );
}

/// What `latest` says when one file of the newer of two checkpoints was changed by `change`.
fn with_change(root: &Path, file: &Path, change: impl FnOnce(&mut Vec<u8>)) -> (u64, Vec<String>) {
    let original = std::fs::read(file).unwrap();
    let mut bytes = original.clone();
    change(&mut bytes);
    std::fs::write(file, &bytes).unwrap();
    let (manifest, passed) = open(root).latest().unwrap().unwrap();
    std::fs::write(file, &original).unwrap();
    (manifest.checkpoint_id, passed)
}

#[test]
fn damage_of_any_byte_and_any_missing_end_are_recognised() {
    let directory = TempDir::new().unwrap();
    let storage = open(directory.path());
    small(&storage, 1, 10);
    let newest = small(&storage, 2, 20);
    let folder = directory.path().join("chk-2");
    for file in all_files(&folder) {
        let length = std::fs::read(&file).unwrap().len();
        for at in 0..length {
            let (id, passed) = with_change(directory.path(), &file, |b| b[at] ^= 0x15);
            assert_eq!((id, passed.len()), (1, 1), "byte {at} of {}", file.display());
            let (id, passed) = with_change(directory.path(), &file, |b| b.truncate(at));
            assert_eq!((id, passed.len()), (1, 1), "{at} bytes of {}", file.display());
        }
        let (id, _) = with_change(directory.path(), &file, |b| b.push(b' '));
        // White space behind a manifest changes nothing.
        assert_eq!(id, if file.ends_with("manifest.json") { 2 } else { 1 });
    }
    assert_eq!(storage.latest().unwrap().unwrap(), (newest, vec![]));
}

#[test]
fn damage_after_the_check_is_recognised_by_the_reader() {
    let directory = TempDir::new().unwrap();
    let storage = open(directory.path());
    let mut rng = SmallRng::seed_from_u64(1);
    let rows = [keyed(&mut rng, "groups", 3, 0..128), unkeyed(7)];
    let values = [("v".to_string(), b"some value".to_vec())];
    let file = storage.write_state(1, &id(), 0, 1, &rows, &values, SnapshotKind::Full).unwrap();
    let path = directory.path().join(&file.path);
    let entry = entry(vec![vec![file]]);
    let original = std::fs::read(&path).unwrap();
    let all = || -> crate::error::Result<Vec<StateRows>> {
        let mut reader = storage.reader(&entry, 0..128, 0, 1)?;
        let mut rows = Vec::new();
        while let Some(next) = reader.next_rows()? {
            rows.push(next);
        }
        assert_eq!(reader.values("v"), [b"some value"]);
        Ok(rows)
    };
    assert_eq!(texts(&all().unwrap()), texts(&rows));
    for at in 0..original.len() {
        let mut bytes = original.clone();
        bytes[at] ^= 0x41;
        std::fs::write(&path, &bytes).unwrap();
        let error = all().err().unwrap_or_else(|| panic!("byte {at} of {}", original.len()));
        assert!(
            error.message().contains("is damaged") || error.message().contains("later release"),
            "{error}"
        );
        if at % 7 == 0 {
            std::fs::write(&path, &original[..at]).unwrap();
            assert!(all().is_err(), "{at} bytes");
        }
    }
}

#[test]
fn a_later_release_is_named_and_its_checkpoints_stay() {
    let directory = TempDir::new().unwrap();
    let storage = open(directory.path());
    small(&storage, 1, 10);
    small(&storage, 2, 20);
    let file = directory.path().join("chk-2/manifest.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let later = text.replacen("\"format_version\":1", "\"format_version\":9", 1);
    std::fs::write(&file, &later).unwrap();
    let (latest, passed) = storage.latest().unwrap().unwrap();
    assert_eq!(latest.checkpoint_id, 1);
    assert!(passed[0].contains("has the format 9, which a later release"), "{passed:?}");
    small(&storage, 3, 30);
    storage.retain(1).unwrap();
    let left: Vec<u64> = storage.checkpoints().unwrap();
    assert_eq!(left, [2, 3]);
    std::fs::write(&file, &text).unwrap();
    let (manifest, storage) =
        CheckpointStorage::read_manifest(file.parent().unwrap().to_str().unwrap(), &handle()).unwrap();
    assert_eq!(texts(&read(&storage, &manifest.operators[0], 0, 1)), texts(&[unkeyed(20)]));
}

#[test]
fn where_all_are_damaged_nothing_is_started_silently() {
    let directory = TempDir::new().unwrap();
    let storage = open(directory.path());
    small(&storage, 4, 10);
    std::fs::write(directory.path().join("chk-4/manifest.json"), "{\"format_ver").unwrap();
    let error = storage.latest().unwrap_err();
    assert!(error.message().contains("cut off or overwritten"), "{error}");
    assert!(error.hint().unwrap().contains("execution.savepoint.path"));
}

#[test]
fn savepoints_are_by_themselves_and_read_by_any_of_their_names() {
    let directory = TempDir::new().unwrap();
    let uri = format!("file://{}", directory.path().display());
    let savepoint = CheckpointStorage::savepoint(&uri, "abcdef0123", &handle()).unwrap();
    let file = savepoint.write_state(5, &id(), 0, 1, &[unkeyed(3)], &[], SnapshotKind::Full).unwrap();
    let written = Manifest { kind: CheckpointKind::Savepoint, ..manifest(5, vec![entry(vec![vec![file]])]) };
    savepoint.write_manifest(&written).unwrap();
    let name = savepoint.uri();
    assert!(name.starts_with(&format!("{}/savepoint-abcdef-", directory.path().display())), "{name}");
    savepoint.retain(1).unwrap();
    // It may be moved.
    let moved = directory.path().join("elsewhere");
    std::fs::rename(&name, &moved).unwrap();
    let moved = moved.to_str().unwrap();
    for name in [format!("{moved}/manifest.json"), format!("file://{moved}/"), moved.to_string()] {
        let (manifest, storage) = CheckpointStorage::read_manifest(&name, &handle()).unwrap();
        assert_eq!(manifest, written);
        assert_eq!(texts(&read(&storage, &manifest.operators[0], 0, 1)), texts(&[unkeyed(3)]));
    }
    let error = CheckpointStorage::read_manifest("/nowhere", &handle()).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::User, "There is no savepoint or checkpoint at /nowhere.")
    );
}

/// A checkpoint that adds a file of changes to those of `base`.
pub(super) fn grown(storage: &CheckpointStorage, base: &Manifest, checkpoint: u64) -> Manifest {
    let file = storage
        .write_state(checkpoint, &id(), 0, 1, &[unkeyed(checkpoint as i64)], &[], SnapshotKind::Delta)
        .unwrap();
    let mut manifest = Manifest { checkpoint_id: checkpoint, ..base.clone() };
    manifest.operators[0].instances[0].files.push(file);
    storage.write_manifest(&manifest).unwrap();
    manifest
}

fn retention(storage: &CheckpointStorage) {
    let first = small(storage, 1, 1);
    let second = grown(storage, &first, 2);
    // Given up: has files but no manifest.
    storage.write_state(3, &id(), 0, 1, &[unkeyed(0)], &[], SnapshotKind::Delta).unwrap();
    let fourth = grown(storage, &second, 4);
    // On its way.
    storage.write_state(5, &id(), 0, 1, &[unkeyed(5)], &[], SnapshotKind::Delta).unwrap();
    storage.retain(2).unwrap();
    assert_eq!(storage.checkpoints().unwrap(), [2, 4]);
    let count = |id: u64| storage.listing().unwrap().get(&id).map_or(0, Vec::len);
    assert_eq!([1, 2, 3, 4, 5].map(count), [1, 2, 0, 2, 1]);
    storage.retain(1).unwrap();
    assert_eq!(storage.checkpoints().unwrap(), [4]);
    assert_eq!([1, 2, 3, 4, 5].map(count), [1, 1, 0, 2, 1]);
    assert_eq!(storage.latest().unwrap().unwrap().0, fourth);
    let rows = read(storage, &fourth.operators[0], 0, 1);
    assert_eq!(texts(&rows), texts(&[unkeyed(1), unkeyed(2), unkeyed(4)]));
    storage.remove_unfinished().unwrap();
    assert_eq!([1, 2, 3, 4, 5].map(count), [1, 1, 0, 2, 0]);
    let sixth = small(storage, 6, 6);
    storage.retain(1).unwrap();
    assert_eq!([1, 2, 3, 4, 5, 6].map(count), [0, 0, 0, 0, 0, 2]);
    assert_eq!(storage.latest().unwrap().unwrap(), (sixth, vec![]));
}

#[test]
fn retention_removes_what_no_kept_checkpoint_needs() {
    let directory = TempDir::new().unwrap();
    retention(&open(directory.path()));
}

#[test]
fn savepoints_between_checkpoints_are_never_removed() {
    let directory = TempDir::new().unwrap();
    let storage = open(directory.path());
    let mut savepoint = manifest(1, vec![]);
    savepoint.kind = CheckpointKind::Savepoint;
    storage.write_manifest(&savepoint).unwrap();
    let beside = CheckpointStorage::savepoint(&storage.uri(), "abcdef", &handle()).unwrap();
    beside.write_manifest(&savepoint).unwrap();
    for id in 2..6 {
        small(&storage, id, 0);
        storage.retain(1).unwrap();
        storage.remove_unfinished().unwrap();
    }
    assert_eq!(storage.checkpoints().unwrap(), [1, 5]);
    assert!(CheckpointStorage::read_manifest(&beside.uri(), &handle()).is_ok());
}

#[test]
fn many_may_clean_up_at_once_while_checkpoints_are_written() {
    let directory = TempDir::new().unwrap();
    let storage = open(directory.path());
    let mut last = small(&storage, 1, 1);
    std::thread::scope(|scope| {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        for _ in 0..3 {
            let (storage, stop) = (open(directory.path()), Arc::clone(&stop));
            scope.spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    storage.retain(1).unwrap();
                }
            });
        }
        for id in 2..40 {
            last = if id % 5 == 0 { small(&storage, id, 1) } else { grown(&storage, &last, id) };
            assert_eq!(storage.latest().unwrap().unwrap().0, last);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    storage.retain(1).unwrap();
    assert_eq!(all_files(directory.path()).len(), 1 + last.operators[0].instances[0].files.len());
}

#[test]
fn schemes_are_refused_by_name() {
    let error = |uri: &str| CheckpointStorage::open(uri, &handle()).unwrap_err();
    assert!(error("hdfs://a/b").message().contains("'hdfs://' is not supported"));
    assert!(error("s3:///b").message().contains("names no bucket"));
    assert!(error("  ").message().contains("has no name"));
    let relative = CheckpointStorage::open("file:a/b/", &handle()).unwrap().uri();
    assert!(relative.starts_with('/') && relative.ends_with("/a/b"), "{relative}");
}

/// A bucket of the moto server at `RUNNEL_MOTO`, new; `None` without one.
fn bucket(name: &str) -> Option<CheckpointStorage> {
    let Ok(endpoint) = std::env::var("RUNNEL_MOTO") else {
        eprintln!("skipped: RUNNEL_MOTO names no S3");
        return None;
    };
    let address = endpoint.trim_start_matches("http://").to_string();
    let bucket = format!("{name}-{}", std::process::id());
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let request = format!(
        "PUT /{bucket} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let builder = object_store::aws::AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_region("us-east-1")
        .with_access_key_id("test")
        .with_secret_access_key("test");
    let remote = Remote::build(builder, true, &bucket, "jobs/a b", &handle()).unwrap();
    Some(CheckpointStorage::at(Place::Remote(remote)))
}

#[test]
fn s3_keeps_checkpoints_too() {
    let Some(storage) = bucket("runnel-storage") else { return };
    assert!(storage.latest().unwrap().is_none());
    retention(&storage);
    let error = storage.write_manifest(&manifest(6, vec![])).unwrap_err();
    assert!(error.message().contains("another process"), "{error}");
    rows_come_back(&storage, 3);
    let damaged = storage.state_file(7, &id(), 0, 1, SnapshotKind::Full).unwrap();
    let mut file = damaged.finish(&[]).unwrap();
    file.crc32 ^= 1;
    storage.write_manifest(&manifest(7, vec![entry(vec![vec![file]])])).unwrap();
    let (latest, passed) = storage.latest().unwrap().unwrap();
    assert_eq!((latest.checkpoint_id, passed.len()), (6, 2), "{passed:?}");
}

#[test]
fn s3_takes_large_files_in_parts() {
    let Some(storage) = bucket("runnel-storage-large") else { return };
    let rows = 400_000;
    let wide = column(StringArray::from_iter_values((0..rows).map(|n| format!("{n:0100}"))));
    let batch = RecordBatch::try_from_iter([("s", wide)]).unwrap();
    let mut file = storage.state_file(1, &id(), 0, 1, SnapshotKind::Full).unwrap();
    file.rows(&StateRows { table: "t".into(), key_groups: None, rows: batch.clone(), deleted: None })
        .unwrap();
    let given_up = storage.state_file(2, &id(), 0, 1, SnapshotKind::Full).unwrap();
    drop(given_up);
    let file = file.finish(&[("v".into(), vec![1])]).unwrap();
    assert!(file.bytes > 32 << 20);
    let manifest = manifest(1, vec![entry(vec![vec![file]])]);
    storage.write_manifest(&manifest).unwrap();
    let (latest, passed) = storage.latest().unwrap().unwrap();
    assert_eq!((latest, passed), (manifest.clone(), vec![]));
    let back: Vec<RecordBatch> =
        read(&storage, &manifest.operators[0], 0, 1).into_iter().map(|p| p.rows).collect();
    assert_eq!(arrow::compute::concat_batches(&batch.schema(), &back).unwrap(), batch);
    let uri = storage.checkpoint_uri(1);
    assert!(uri.ends_with("/jobs/a b/chk-1"), "{uri}");
}

#[test]
fn a_store_that_does_not_answer_is_an_error_that_may_be_retried() {
    let directory = TempDir::new().unwrap();
    // A file where the directory should be: neither written nor silently taken for empty once it holds something.
    let blocked = directory.path().join("file");
    std::fs::write(&blocked, "x").unwrap();
    let storage = open(&blocked);
    let error = storage.write_state(1, &id(), 0, 1, &[], &[], SnapshotKind::Full).unwrap_err();
    assert!(error.retry() && error.message().starts_with("Making the directory"), "{error}");
}

#[test]
fn what_becomes_of_state_is_told_with_reasons() {
    use crate::plan::*;
    let node = |id: usize, operator: &str, name: &str, kind: NodeKind| StreamNode {
        id: NodeId(id),
        operator_id: OperatorId(operator.into()),
        name: name.into(),
        kind,
        inputs: Vec::new(),
        schema: Arc::new(Schema::empty()),
        parallelism: 1,
        changelog: ChangelogMode::APPEND,
    };
    let group = |keys: Vec<usize>| {
        NodeKind::GroupAggregate(GroupAggregateNode {
            keys,
            aggregates: vec![],
            retracts: false,
            update_before: true,
            at_end_only: false,
            mini_batch: None,
            ttl_ms: None,
        })
    };
    let plan = StreamPlan {
        nodes: vec![
            node(0, "values-1", "Values", NodeKind::Values(ValuesNode { batches: vec![] })),
            node(1, "groupaggregate-1", "GroupAggregate(a)", group(vec![0])),
            node(2, "union-2", "Union", NodeKind::Union),
            node(3, "groupaggregate-3", "GroupAggregate(a, b)", group(vec![0, 1])),
        ],
    };
    let entry = |id: &str, name: &str| OperatorEntry {
        operator_id: id.into(),
        name: name.into(),
        ..super::tests::entry(vec![])
    };
    let manifest = manifest(
        1,
        vec![
            entry("source-9", "TableSourceScan(t)"),
            entry("groupaggregate-1", "GroupAggregate(a)"),
            entry("groupaggregate-7", "GroupAggregate(b)"),
            entry("union-7", "Union"),
            entry("limit-1", "Limit(fetch=[3])"),
        ],
    );
    let diff = compare(&manifest, &plan);
    expect_test::expect![[r#"
        State kept: GroupAggregate(a) (groupaggregate-1).
        State new, starts with nothing: GroupAggregate(a, b) (groupaggregate-3).
        State dropped: TableSourceScan(t) (source-9): the query does not read this table any more.
        State dropped: GroupAggregate(b) (groupaggregate-7): its keys, aggregates, window, columns or inputs have changed; it is now GroupAggregate(a, b).
        State dropped: Limit(fetch=[3]) (limit-1): the query has no such operator any more.
    "#]]
    .assert_eq(&diff.to_string());
    assert!(diff.check("/s", true).is_ok());
    let error = diff.check("/s", false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.message().starts_with("The state at /s does not fit the query"), "{error}");
    assert!(error.message().contains("Limit(fetch=[3])"), "{error}");
    assert!(compare(&self::manifest(1, vec![]), &plan).check("/s", false).is_ok());
}

#[test]
fn a_file_where_the_store_should_be_is_not_a_store_without_checkpoints() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    std::fs::write(&root, "").unwrap();
    let error = open(&root.join("job")).latest().unwrap_err();
    assert!(error.message().contains("Listing"), "{error}");
}
