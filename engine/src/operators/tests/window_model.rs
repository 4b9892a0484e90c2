//! Windows of every kind against a model that knows nothing of slices, batches and merging: it keeps each row in
//! each of its windows and looks at all windows whenever the watermark moves.

use crate::operators::WindowAggregate;
use crate::operators::testing::{Harness, calls, rows, schema, time_text};
use crate::plan::{TimeAttribute, WindowAggregateNode, WindowInput, WindowProperty};
use crate::time::WindowSpec;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
struct Row {
    time: i64,
    key: Option<&'static str>,
    value: Option<i64>,
}

#[derive(Clone, Debug)]
enum Event {
    Row(Row),
    Watermark(i64),
}

type Key = Option<&'static str>;

/// Windows with their rows, by (end, start, key).
struct Model {
    spec: WindowSpec,
    windows: BTreeMap<(i64, i64, Key), Vec<Row>>,
    watermark: i64,
    late: u64,
    told: Vec<String>,
}

impl Model {
    fn row(&mut self, row: &Row) {
        let windows = match self.spec {
            WindowSpec::Session { .. } => {
                let (mut start, mut end) = self.spec.windows(row.time)[0];
                let touched: Vec<_> = self
                    .windows
                    .keys()
                    .filter(|(e, s, key)| *key == row.key && *s <= end && start <= *e)
                    .copied()
                    .collect();
                let mut held = Vec::new();
                for window in touched {
                    (start, end) = (start.min(window.1), end.max(window.0));
                    held.extend(self.windows.remove(&window).unwrap());
                }
                if !held.is_empty() {
                    self.windows.insert((end, start, row.key), held);
                }
                vec![(start, end)]
            }
            _ => self.spec.windows(row.time),
        };
        let open: Vec<_> = windows.iter().filter(|(_, end)| end - 1 > self.watermark).collect();
        self.late += u64::from(open.is_empty() && !windows.is_empty());
        for (start, end) in open {
            self.windows.entry((*end, *start, row.key)).or_default().push(row.clone());
        }
    }

    fn watermark(&mut self, watermark: i64) {
        self.watermark = watermark;
        while let Some(window) = self.windows.first_entry().filter(|w| w.key().0 - 1 <= watermark) {
            let ((end, start, key), rows) = window.remove_entry();
            let values: Vec<i64> = rows.iter().filter_map(|r| r.value).collect();
            let distinct: BTreeSet<_> = values.iter().collect();
            let or_null = |v: Option<i64>| v.map_or("NULL".to_owned(), |v| v.to_string());
            let sum = (!values.is_empty()).then(|| values.iter().sum::<i64>());
            self.told.push(format!(
                "+I {} {} {} {} {} {} {}",
                key.unwrap_or("NULL"),
                rows.len(),
                or_null(sum),
                or_null(values.iter().min().copied()),
                distinct.len(),
                time_text(start),
                time_text(end),
            ));
        }
    }
}

/// CUMULATE's later steps repeat what earlier steps told, also without rows of their own: the model's windows
/// hold all rows since the start, so this comes out by itself. All windows are compared in order of their ends,
/// keys of a window in any order.
fn sorted(lines: &str) -> Vec<String> {
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn operator(spec: WindowSpec, restoring: bool) -> Harness {
    let input = schema("ts TIMESTAMP, k STRING, v BIGINT");
    let output = schema("k STRING, n BIGINT, s BIGINT, min BIGINT, d BIGINT, start TIMESTAMP, end TIMESTAMP");
    let node = WindowAggregateNode {
        input: WindowInput::Assign { window: spec, time: TimeAttribute::Rowtime { column: 0 }, zone: None },
        keys: vec![1],
        aggregates: calls("count(), sum(2), min(2), count(distinct 2)", &output, 1),
        properties: vec![WindowProperty::Start, WindowProperty::End],
        retracts: false,
    };
    let make = {
        let input = input.clone();
        move || WindowAggregate::new(&node, input.clone(), output.clone()).unwrap()
    };
    if restoring { Harness::restoring(make, &[input], &[&[1]]) } else { Harness::new(make(), &[input]) }
}

fn events(rng: &mut SmallRng) -> Vec<Event> {
    let mut watermark = i64::MIN;
    let mut clock = rng.random_range(-50..50);
    let spread = rng.random_range(1..40);
    let step = rng.random_range(1..20);
    let mut events = Vec::new();
    for _ in 0..rng.random_range(1..150) {
        clock += rng.random_range(0..step);
        if rng.random_bool(0.15) {
            let next = clock - rng.random_range(0..spread);
            if next > watermark {
                watermark = next;
                events.push(Event::Watermark(watermark));
            }
        } else {
            events.push(Event::Row(Row {
                time: clock - rng.random_range(0..spread),
                key: [Some("a"), Some("µ"), None][rng.random_range(0..3)],
                value: rng.random_bool(0.8).then(|| rng.random_range(-3..4)),
            }));
        }
    }
    events.push(Event::Watermark(i64::MAX));
    events
}

fn specs(rng: &mut SmallRng) -> [WindowSpec; 4] {
    let offset = rng.random_range(-7..8);
    [
        WindowSpec::Tumble { size: rng.random_range(1..15), offset },
        WindowSpec::Hop { slide: rng.random_range(1..9), size: rng.random_range(1..25), offset },
        WindowSpec::Cumulate { step: rng.random_range(1..7), size: rng.random_range(7..25), offset },
        WindowSpec::Session { gap: rng.random_range(1..12) },
    ]
}

#[test]
fn windows_agree_with_the_model_however_rows_are_batched() {
    let mut rng = SmallRng::seed_from_u64(2024);
    let input = schema("ts TIMESTAMP, k STRING, v BIGINT");
    for round in 0..150 {
        let events = events(&mut rng);
        for spec in specs(&mut rng) {
            let mut model =
                Model { spec, windows: BTreeMap::new(), watermark: i64::MIN, late: 0, told: Vec::new() };
            let mut h = operator(spec, round % 30 == 0);
            let mut told = String::new();
            let mut pending: Vec<String> = Vec::new();
            let batch_rows = [1, 5, usize::MAX][round % 3];
            for event in &events {
                match event {
                    Event::Row(row) => {
                        model.row(row);
                        let value = row.value.map_or("NULL".to_owned(), |v| v.to_string());
                        pending.push(format!(
                            "{} {} {value}",
                            time_text(row.time),
                            row.key.unwrap_or("NULL")
                        ));
                    }
                    Event::Watermark(ms) => model.watermark(*ms),
                }
                if !pending.is_empty()
                    && (pending.len() >= batch_rows || matches!(event, Event::Watermark(_)))
                {
                    h.batch(0, rows(&input, &pending.join("\n")));
                    pending.clear();
                }
                if let Event::Watermark(ms) = event {
                    h.watermark_ms(*ms);
                    let now = h.take();
                    let ends = |lines: &str| -> Vec<i64> {
                        let end =
                            |line: &str| crate::operators::testing::ms(line.rsplit(' ').next().unwrap());
                        lines.lines().map(end).collect()
                    };
                    assert!(ends(&now).is_sorted(), "{spec}: windows in order of their ends:\n{now}");
                    told.push_str(&now);
                }
            }
            assert_eq!(sorted(&told), sorted(&model.told.join("\n")), "{spec}, round {round}: {events:?}");
            assert_eq!(h.status().late_rows, model.late, "{spec}, late rows of round {round}");
            assert_eq!(h.status().open_windows, 0, "{spec}");
        }
    }
}
