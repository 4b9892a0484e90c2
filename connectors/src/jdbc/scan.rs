//! Reading a table to its end: a split for each part of it, rows streamed.

use super::client;
use super::table::{RemoteTable, quoted, records, selected};
use super::types::{PgType, types_of};
use arrow::datatypes::SchemaRef;
use engine::connector::{
    Assignment, Boundedness, Enumerator, Metrics, Poll, Reader, ReaderContext, Source, SourceContext, Split,
};
use engine::error::{Error, Result};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::{Client, Row, RowStream};

/// `scan.partition.*`: the table in parts, by the values of a number.
#[derive(Debug, Clone)]
pub(super) struct Partitions {
    pub column: String,
    pub count: i64,
    pub lower: i64,
    pub upper: i64,
}

impl Partitions {
    /// First and last value of each part, as Flink cuts them: the larger ones first.
    fn ranges(&self) -> Vec<(i64, i64)> {
        let values = i128::from(self.upper) - i128::from(self.lower) + 1;
        let count = i128::from(self.count).min(values).max(1);
        let (size, larger) = (values / count, values % count);
        let mut from = i128::from(self.lower);
        (0..count)
            .map(|part| {
                let to = from + size + i128::from(part < larger) - 1;
                let range = (from as i64, to as i64);
                from = to + 1;
                range
            })
            .collect()
    }
}

#[derive(Debug, Clone)]
pub(super) struct JdbcSource {
    pub table: RemoteTable,
    pub primary_key: Vec<String>,
    pub partitions: Option<Partitions>,
}

/// Where reading a part goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Position {
    range: Option<(i64, i64)>,
    /// Rows that were read.
    rows: u64,
}

fn position(split: &Split) -> Result<Position> {
    serde_json::from_str(&split.position).map_err(|e| {
        Error::external(format!("The position of '{}' cannot be read: {e}.", split.id)).permanent()
    })
}

fn split(id: &str, position: &Position) -> Split {
    let position = serde_json::to_string(position).unwrap_or_default();
    Split { id: id.to_string(), position }
}

impl Source for JdbcSource {
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    fn describe(&self) -> String {
        self.table.describe()
    }

    fn max_parallelism(&self) -> Option<usize> {
        Some(self.partitions.as_ref().map_or(1, |p| p.ranges().len()))
    }

    fn enumerator(&self, _: &SourceContext) -> Result<Box<dyn Enumerator>> {
        let splits = match &self.partitions {
            None => vec![split("all", &Position { range: None, rows: 0 })],
            Some(partitions) => partitions
                .ranges()
                .into_iter()
                .map(|range| {
                    split(&format!("{}-{}", range.0, range.1), &Position { range: Some(range), rows: 0 })
                })
                .collect(),
        };
        Ok(Box::new(Parts { splits }))
    }

    fn reader(&self, context: ReaderContext) -> Result<Box<dyn Reader>> {
        Ok(Box::new(JdbcReader {
            types: types_of(context.projection.fields())?,
            source: self.clone(),
            context,
            waiting: VecDeque::new(),
            reading: None,
        }))
    }
}

struct Parts {
    splits: Vec<Split>,
}

impl Enumerator for Parts {
    fn restore(&mut self, known: &[Split], finished: &[Split]) -> Result<()> {
        self.splits.retain(|s| !known.iter().chain(finished).any(|k| k.id == s.id));
        Ok(())
    }

    fn discover(&mut self) -> Result<Assignment> {
        Ok(Assignment { splits: std::mem::take(&mut self.splits), complete: true })
    }
}

/// A part being read.
struct Reading {
    id: Arc<str>,
    position: Position,
    rows: Pin<Box<RowStream>>,
    /// The last row was read.
    ended: bool,
    /// Kept until the last row: dropping it ends the connection.
    _client: Client,
}

struct JdbcReader {
    source: JdbcSource,
    types: Vec<PgType>,
    context: ReaderContext,
    waiting: VecDeque<Split>,
    reading: Option<Reading>,
}

impl JdbcReader {
    fn schema(&self) -> &SchemaRef {
        &self.context.projection
    }

    async fn begin(&self, next: &Split) -> Result<Reading> {
        let table = &self.source.table;
        let position = position(next)?;
        let client = client::connect(&table.target).await?;
        let fields = self.schema().fields();
        let of = table.types(&client, fields).await?;
        let columns: Vec<String> = fields
            .iter()
            .zip(self.types.iter().zip(&of))
            .map(|(f, (pg, of))| selected("", f.name(), pg, of))
            .collect();
        let mut sql = format!("SELECT {} FROM {}", columns.join(", "), table.sql());
        if let (Some((from, to)), Some(partitions)) = (position.range, &self.source.partitions) {
            sql += &format!(" WHERE {} BETWEEN {from} AND {to}", quoted(&partitions.column));
        }
        // Rows that were read are passed over: the order must be the same each time.
        if !self.source.primary_key.is_empty() {
            let key: Vec<String> = self.source.primary_key.iter().map(|k| quoted(k)).collect();
            sql += &format!(" ORDER BY {}", key.join(", "));
        }
        if position.rows > 0 {
            sql += &format!(" OFFSET {}", position.rows);
        }
        let failed =
            |e: tokio_postgres::Error| client::error(&table.target, &format!("reading '{}'", table.name), &e);
        client.batch_execute("SET synchronize_seqscans = off").await.map_err(failed)?;
        let rows = client.query_raw(sql.as_str(), std::iter::empty::<i64>()).await.map_err(failed)?;
        Ok(Reading {
            id: next.id.as_str().into(),
            position,
            rows: Box::pin(rows),
            ended: false,
            _client: client,
        })
    }

    /// The next rows; fewer than a batch when `timeout` is over or the part ends, which the flag tells.
    async fn next(&mut self, timeout: Duration) -> Result<(Vec<Row>, bool)> {
        let most = self.context.batch_rows.max(1);
        let Some(reading) = &mut self.reading else { return Ok((Vec::new(), false)) };
        let mut rows = Vec::new();
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(deadline);
        while rows.len() < most && !reading.ended {
            tokio::select! {
                biased;
                row = reading.rows.next() => match row {
                    Some(row) => rows.push(row.map_err(|e| {
                        client::error(&self.source.table.target, &format!("reading '{}'", self.source.table.name), &e)
                    })?),
                    None => reading.ended = true,
                },
                () = &mut deadline => break,
            }
        }
        Ok((rows, reading.ended))
    }
}

impl Reader for JdbcReader {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        self.waiting.extend(splits);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Poll> {
        let runtime = self.context.runtime.clone();
        if self.reading.is_none() {
            let Some(next) = self.waiting.front().cloned() else {
                self.context.metrics.waiting(|| std::thread::sleep(timeout));
                return Ok(Poll::Pending);
            };
            self.reading = Some(runtime.block_on(self.begin(&next))?);
            self.waiting.pop_front();
        }
        let metrics = self.context.metrics.clone();
        let (rows, ended) = metrics.waiting(|| runtime.block_on(self.next(timeout)))?;
        let Some(reading) = &mut self.reading else { return Ok(Poll::Pending) };
        if rows.is_empty() {
            if !ended {
                return Ok(Poll::Pending);
            }
            let id = Arc::clone(&reading.id);
            self.reading = None;
            return Ok(Poll::Finished(id));
        }
        reading.position.rows += rows.len() as u64;
        let id = Arc::clone(&reading.id);
        let batch = records(&rows, 0, &self.types, self.schema(), &self.source.table.target)?;
        Metrics::add(&self.context.metrics.records, batch.num_rows());
        Ok(Poll::Rows { split: id, batch, kinds: None })
    }

    fn snapshot(&self) -> Vec<Split> {
        let reading = self.reading.iter().map(|r| split(&r.id, &r.position));
        reading.chain(self.waiting.iter().cloned()).collect()
    }

    fn status(&self) -> Option<String> {
        Some(format!("rows of '{}' in PostgreSQL", self.source.table.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_flink() {
        let ranges = |count, lower, upper| Partitions { column: "id".into(), count, lower, upper }.ranges();
        assert_eq!(ranges(3, 0, 9), [(0, 3), (4, 6), (7, 9)]);
        assert_eq!(ranges(2, 1, 4), [(1, 2), (3, 4)]);
        assert_eq!(ranges(5, 7, 8), [(7, 7), (8, 8)]);
        assert_eq!(ranges(2, i64::MIN, i64::MAX), [(i64::MIN, -1), (0, i64::MAX)]);
    }
}
