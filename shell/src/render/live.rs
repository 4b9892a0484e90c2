//! The live table: a running query's result, redrawn in place, with a status line.

use super::cells::{self, cut, grouped, printable, push_right, width};
use super::materialized::{Materialized, Row};
use super::{tableau, template};
use crate::interrupt::Interrupt;
use crate::paragraph::{Properties, ResultType};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use chrono_tz::Tz;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::{cursor, queue, style, terminal};
use engine::message::ChangeBatch;
use engine::outcome::Query;
use engine::runtime::{Progress, ResultEvent};
use engine::time::Watermark;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Redraw period where none is asked for, in milliseconds.
const DEFAULT_REFRESH_MS: u64 = 1000;
/// How long to wait for rows or keys at a time, in milliseconds.
const TICK_MS: u64 = 30;
/// Rows taken between two looks at the keyboard.
const ROWS_PER_TICK: usize = 50_000;
/// Silence after which the status says why, in milliseconds.
const SILENCE_MS: u128 = 3000;
/// Period over which rows/s is measured, in milliseconds.
const RATE_WINDOW_MS: u128 = 3000;
/// Rows that stay on screen after `q` at most.
const LEFT_ON_SCREEN_ROWS: usize = 200;
/// `threshold` of `type=append` where none is given, in milliseconds.
const DEFAULT_THRESHOLD_MS: i64 = 3_600_000;

/// How a live table ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The query has come to its end.
    Finished,
    /// The user left it; the query was cancelled.
    Left,
}

/// What the live table needs to know besides the query.
pub struct Settings {
    /// Zone of LTZ values.
    pub zone: Tz,
    /// Widest column.
    pub max_width: usize,
    /// Most rows kept.
    pub max_rows: usize,
    /// The paragraph's header.
    pub properties: Properties,
}

/// Shows a query until it ends or the user leaves, then leaves its last result on the screen.
///
/// Errors: the query's own, or a terminal that cannot be used.
pub fn show(query: Query, settings: Settings, interrupt: &Interrupt) -> engine::Result<Ended> {
    if settings.properties.result_type == ResultType::Append
        && let Err(e) = can_append(&query)
    {
        query.results.job().cancel();
        return Err(e);
    }
    let terminal_failed =
        |e: io::Error| engine::Error::external(format!("The terminal cannot be used: {e}."));
    let mut view = View::new(&query.schema, settings);
    let guard = Screen::enter().map_err(terminal_failed)?;
    let ended = view.run(query, interrupt);
    drop(guard);
    let mut out = io::stdout().lock();
    let shown = out.write_all(view.last_result().as_bytes()).and_then(|()| out.flush());
    shown.map_err(terminal_failed)?;
    match ended {
        Ok(ended) => ended,
        Err(e) => Err(terminal_failed(e)),
    }
}

/// Whether `type=append` can show the query, told before any screen is drawn.
fn can_append(query: &Query) -> engine::Result<()> {
    if !query.changelog.is_append() {
        return Err(only_grows());
    }
    match query.schema.fields().first().map(|f| f.data_type()) {
        Some(DataType::Timestamp(..)) => Ok(()),
        _ => Err(needs_time()),
    }
}

fn only_grows() -> engine::Error {
    engine::Error::user("type=append shows results that only grow, but this query updates rows.")
        .with_hint("Write %flink.ssql(type=update).")
}

fn needs_time() -> engine::Error {
    engine::Error::user("type=append needs a TIMESTAMP in the first column.")
        .with_hint("Select the window's start or end first, or write type=update.")
}

/// The terminal's other screen; left again when dropped, also in a panic.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        queue!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide, terminal::DisableLineWrap)?;
        io::stdout().flush()?;
        Ok(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing sensible can be done about a terminal that is gone.
        let _ = queue!(io::stdout(), terminal::EnableLineWrap, cursor::Show, terminal::LeaveAlternateScreen);
        let _ = io::stdout().flush();
        let _ = terminal::disable_raw_mode();
    }
}

/// What keys ask for.
enum Wish {
    Leave,
    Redraw,
    Nothing,
}

struct View {
    schema: SchemaRef,
    settings: Settings,
    table: Materialized,
    single: Option<Row>,
    append: Option<AppendWindow>,
    /// First row shown; `None` follows the end.
    top: Option<usize>,
    /// First character shown.
    left: usize,
    refresh: Duration,
    changes: u64,
    last_change: Instant,
    rates: VecDeque<(Instant, u64)>,
    finished: bool,
    started: Instant,
    took: Option<Duration>,
}

/// `type=append`: rows older than the newest first column less a threshold go.
struct AppendWindow {
    threshold_ms: i64,
    newest_ms: i64,
}

impl View {
    fn new(schema: &SchemaRef, settings: Settings) -> Self {
        let append = (settings.properties.result_type == ResultType::Append).then(|| AppendWindow {
            threshold_ms: settings.properties.threshold_ms.map_or(DEFAULT_THRESHOLD_MS, |t| t as i64),
            newest_ms: i64::MIN,
        });
        let now = Instant::now();
        let refresh = settings.properties.refresh_interval_ms.unwrap_or(DEFAULT_REFRESH_MS);
        Self {
            schema: schema.clone(),
            table: Materialized::new(settings.max_rows),
            single: None,
            append,
            top: None,
            left: 0,
            refresh: Duration::from_millis(refresh.min(DEFAULT_REFRESH_MS)),
            changes: 0,
            last_change: now,
            rates: VecDeque::new(),
            finished: false,
            started: now,
            took: None,
            settings,
        }
    }

    fn run(&mut self, mut query: Query, interrupt: &Interrupt) -> io::Result<engine::Result<Ended>> {
        let mut drawn: Option<Instant> = None;
        let mut dirty = true;
        let mut end: Option<engine::Result<()>> = None;
        let mut progress = query.results.job().progress();
        loop {
            let mut rows = 0;
            while end.is_none() && rows < ROWS_PER_TICK {
                let wait = if rows == 0 { TICK_MS } else { 0 };
                match query.results.next(Duration::from_millis(wait)) {
                    ResultEvent::Batch(batch) => {
                        rows += batch.num_rows();
                        if let Err(e) = self.take(&batch) {
                            query.results.job().cancel();
                            return Ok(Err(e));
                        }
                    }
                    ResultEvent::Pending => break,
                    ResultEvent::End(result) => {
                        self.finished = true;
                        self.took = Some(self.started.elapsed());
                        dirty = true;
                        end = Some(result);
                    }
                }
            }
            if let Some(Err(e)) = end {
                return Ok(Err(e));
            }
            dirty |= rows > 0;
            let wait = Duration::from_millis(if end.is_some() { TICK_MS } else { 0 });
            while event::poll(wait.min(Duration::from_millis(TICK_MS)))? {
                match self.key(&event::read()?)? {
                    Wish::Leave => {
                        query.results.job().cancel();
                        return Ok(Ok(if end.is_some() { Ended::Finished } else { Ended::Left }));
                    }
                    Wish::Redraw => drawn = None,
                    Wish::Nothing => {}
                }
                if end.is_some() {
                    break;
                }
            }
            if interrupt.is_asked() {
                query.results.job().cancel();
                return Ok(Ok(Ended::Left));
            }
            // A first result is shown at once, and so is the last; half an update is not shown.
            let due = drawn.is_none_or(|at| at.elapsed() >= self.refresh) || (dirty && self.finished);
            if due && !(self.table.is_torn() && drawn.is_some_and(|at| at.elapsed() < self.refresh * 2)) {
                progress = query.results.job().progress();
                self.draw(&progress)?;
                drawn = Some(Instant::now());
                dirty = false;
            } else if self.changes > 0 && drawn.is_some_and(|_| dirty) && self.changes == rows as u64 {
                self.draw(&progress)?;
            }
        }
    }

    fn take(&mut self, batch: &ChangeBatch) -> engine::Result<()> {
        for row in 0..batch.num_rows() {
            let kind = batch.kind(row);
            if let Some(window) = &mut self.append {
                if !kind.is_addition() {
                    return Err(only_grows());
                }
                let ms = first_column_ms(batch, row).ok_or_else(needs_time)?;
                window.newest_ms = window.newest_ms.max(ms);
            }
            let cells = cells::row(batch.records(), &self.schema, row, self.settings.zone);
            if self.settings.properties.result_type == ResultType::Single {
                if kind.is_addition() {
                    self.single = Some(cells);
                }
            } else {
                self.table.apply(kind, cells);
            }
        }
        self.changes += batch.num_rows() as u64;
        self.last_change = Instant::now();
        Ok(())
    }

    /// The rows in the order in which they are shown.
    fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.table.rows().collect();
        match self.settings.properties.result_type {
            // As Studio does: by the text of the first column.
            ResultType::Update | ResultType::Append => rows.sort_by(|a, b| a.first().cmp(&b.first())),
            ResultType::Single | ResultType::Shell => {}
        }
        if let Some(window) = &self.append {
            let least = text_of_ms(window.newest_ms.saturating_sub(window.threshold_ms));
            rows.retain(|r| r.first().is_some_and(|c| c.as_str() > least.as_str()));
        }
        rows
    }

    fn key(&mut self, event: &Event) -> io::Result<Wish> {
        let Event::Key(key) = event else {
            return Ok(if matches!(event, Event::Resize(..)) { Wish::Redraw } else { Wish::Nothing });
        };
        if key.kind == KeyEventKind::Release {
            return Ok(Wish::Nothing);
        }
        let page = usize::from(terminal::size()?.1).saturating_sub(CHROME_LINES).max(1);
        let total = self.table.len();
        let last_top = total.saturating_sub(page);
        let top = self.top.unwrap_or(last_top);
        let mut go = |to: usize| self.top = (to < last_top).then_some(to);
        match (key.code, key.modifiers) {
            (KeyCode::Char('c' | 'd'), KeyModifiers::CONTROL) => return Ok(Wish::Leave),
            (KeyCode::Char('q' | 'Q') | KeyCode::Esc, _) => return Ok(Wish::Leave),
            (KeyCode::Up | KeyCode::Char('k' | 'w'), _) => go(top.saturating_sub(1)),
            (KeyCode::Down | KeyCode::Char('j' | 's'), _) => go(top + 1),
            (KeyCode::PageUp | KeyCode::Char('p'), _) => go(top.saturating_sub(page)),
            (KeyCode::PageDown | KeyCode::Char('n' | ' '), _) => go(top + page),
            (KeyCode::Home | KeyCode::Char('g'), _) => go(0),
            (KeyCode::End | KeyCode::Char('l' | 'G'), _) => self.top = None,
            (KeyCode::Left | KeyCode::Char('a'), _) => self.left = self.left.saturating_sub(SIDE_STEP),
            (KeyCode::Right | KeyCode::Char('d'), _) => self.left += SIDE_STEP,
            (KeyCode::Char('+'), _) => self.refresh = (self.refresh * 2).min(Duration::from_secs(60)),
            (KeyCode::Char('-'), _) => self.refresh = (self.refresh / 2).max(Duration::from_millis(100)),
            (KeyCode::Char('r' | 'R'), _) => {}
            _ => return Ok(Wish::Nothing),
        }
        Ok(Wish::Redraw)
    }

    fn draw(&mut self, progress: &Progress) -> io::Result<()> {
        let (columns, lines) = terminal::size()?;
        let (columns, lines) = (usize::from(columns), usize::from(lines));
        let mut text = match self.settings.properties.result_type {
            ResultType::Single => self.single_text().lines().map(String::from).collect(),
            _ => self.table_lines(lines),
        };
        let status = self.status(progress);
        text.truncate(lines.saturating_sub(status.len()));
        let mut out = io::BufWriter::new(io::stdout().lock());
        queue!(out, cursor::MoveTo(0, 0))?;
        let blank = lines.saturating_sub(text.len() + status.len());
        let body = text.iter().map(|l| (shifted(l, self.left, columns), false));
        let gap = std::iter::repeat_n((String::new(), false), blank);
        let foot = status.iter().map(|l| (cut(l, columns), true));
        for (number, (line, is_status)) in body.chain(gap).chain(foot).enumerate() {
            if number > 0 {
                queue!(out, style::Print("\r\n"))?;
            }
            if is_status {
                queue!(out, style::SetAttribute(style::Attribute::Dim), style::Print(line))?;
                queue!(out, style::SetAttribute(style::Attribute::Reset))?;
            } else {
                queue!(out, style::Print(line))?;
            }
            queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
        }
        out.flush()
    }

    fn single_text(&self) -> String {
        match (&self.single, &self.settings.properties.template) {
            (None, _) => String::new(),
            (Some(cells), Some(t)) => template::fill(t, cells),
            (Some(cells), None) => cells.first().cloned().unwrap_or_default(),
        }
    }

    fn table_lines(&self, lines: usize) -> Vec<String> {
        let rows = self.rows();
        let page = lines.saturating_sub(CHROME_LINES).max(1);
        let last_top = rows.len().saturating_sub(page);
        let top = self.top.unwrap_or(last_top).min(last_top);
        let shown = &rows[top..rows.len().min(top + page)];
        self.tableau(shown)
    }

    /// Header, rows and borders, fitted to the rows given.
    fn tableau(&self, rows: &[&Row]) -> Vec<String> {
        let names = self.schema.fields().iter().map(|f| printable(f.name())).collect::<Vec<_>>();
        let mut widths = names.iter().map(|n| width(n)).collect::<Vec<_>>();
        let rows =
            rows.iter().map(|r| r.iter().map(|c| printable(c)).collect::<Vec<_>>()).collect::<Vec<_>>();
        for row in &rows {
            for (w, cell) in widths.iter_mut().zip(row) {
                *w = (*w).max(width(cell).min(self.settings.max_width));
            }
        }
        let border = widths.iter().fold("+".to_string(), |b, w| b + &"-".repeat(w + 2) + "+");
        let line = |cells: &[String]| {
            let mut text = String::from("|");
            for (cell, w) in cells.iter().zip(&widths) {
                text.push(' ');
                push_right(&mut text, &cut(cell, *w), *w);
                text.push_str(" |");
            }
            text
        };
        let mut lines = vec![border.clone(), line(&names), border.clone()];
        lines.extend(rows.iter().map(|r| line(r)));
        lines.push(border);
        lines
    }

    fn status(&mut self, progress: &Progress) -> Vec<String> {
        let now = Instant::now();
        self.rates.push_back((now, progress.rows_in));
        while self.rates.len() > 2 && now.duration_since(self.rates[1].0).as_millis() > RATE_WINDOW_MS {
            self.rates.pop_front();
        }
        let rate = match self.rates.front() {
            Some((then, rows)) if now > *then => {
                let seconds = now.duration_since(*then).as_secs_f64().max(0.001);
                (progress.rows_in.saturating_sub(*rows) as f64 / seconds) as u64
            }
            _ => 0,
        };
        let mut parts = Vec::new();
        if self.finished {
            parts.push("Finished".to_string());
        } else {
            parts.push(format!("{} rows/s", grouped(rate)));
        }
        parts.push(format!("{} in", grouped(progress.rows_in)));
        if self.settings.properties.result_type != ResultType::Single {
            parts.push(format!("{} shown", grouped(self.table.len() as u64)));
        }
        if let Some(watermark) = progress.watermark.filter(|w| *w != Watermark::MIN) {
            parts.push(format!("watermark {watermark}"));
        }
        parts.push(format!("{} late", grouped(progress.late_rows)));
        if progress.null_time_rows > 0 {
            parts.push(format!("{} without time", grouped(progress.null_time_rows)));
        }
        if progress.skipped_rows > 0 {
            parts.push(format!("{} skipped", grouped(progress.skipped_rows)));
        }
        if self.table.evicted() > 0 {
            parts.push(format!("{} oldest not kept", grouped(self.table.evicted())));
        }
        let mut lines = Vec::new();
        let silent = self.last_change.elapsed();
        if !self.finished && silent.as_millis() >= SILENCE_MS {
            let why = progress.silence.first().map_or("", String::as_str);
            lines.push(format!("no new result for {} s. {why}", silent.as_secs()));
        }
        lines.push(parts.join(" · "));
        lines.push("q quit · ↑↓ PgUp PgDn scroll · ←→ sideways · End follow · +/- refresh".to_string());
        lines
    }

    /// What stays on the screen: the last result and how much there was.
    fn last_result(&mut self) -> String {
        self.table.settle();
        if self.settings.properties.result_type == ResultType::Single {
            return format!("{}\n", self.single_text());
        }
        let rows = self.rows();
        let hidden = rows.len().saturating_sub(LEFT_ON_SCREEN_ROWS);
        let mut text = self.tableau(&rows[hidden..]).join("\n");
        text.push('\n');
        if hidden > 0 {
            text.push_str(&format!("({} earlier rows are not repeated here)\n", grouped(hidden as u64)));
        }
        let took = self.took.unwrap_or_else(|| self.started.elapsed());
        text.push_str(&format!("{} ({:.2} seconds)\n", tableau::footer(rows.len()), took.as_secs_f64()));
        text
    }
}

/// Lines of the screen that hold no rows: three borders, the header, three of status.
const CHROME_LINES: usize = 7;
/// Columns that ← and → move.
const SIDE_STEP: usize = 8;

fn shifted(line: &str, left: usize, columns: usize) -> String {
    let rest: String = line.chars().skip(left).collect();
    if width(&rest) <= columns {
        return rest;
    }
    let mut out = String::new();
    for c in rest.chars() {
        if width(&out) + 1 >= columns {
            break;
        }
        out.push(c);
    }
    out.push('›');
    out
}

fn first_column_ms(batch: &ChangeBatch, row: usize) -> Option<i64> {
    use arrow::datatypes as t;
    let column = batch.records().columns().first()?;
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            column.as_primitive::<t::TimestampSecondType>().value(row) * 1000
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            column.as_primitive::<t::TimestampMillisecondType>().value(row)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            column.as_primitive::<t::TimestampMicrosecondType>().value(row) / 1000
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            column.as_primitive::<t::TimestampNanosecondType>().value(row) / 1_000_000
        }
        _ => return None,
    })
}

/// The text of a time, comparable with cells of timestamps.
fn text_of_ms(ms: i64) -> String {
    match chrono::DateTime::from_timestamp_millis(ms) {
        Some(t) => t.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        None => String::new(),
    }
}
