//! Writing: rows are gathered and sent together; by primary key where the table has one.

use super::client;
use super::table::{RemoteTable, quoted};
use super::types::{ColumnParam, PgType, is_text, types_of};
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use engine::connector::{Metrics, Sink, Writer, WriterContext};
use engine::error::{Error, Result};
use engine::message::ChangeBatch;
use engine::plan::ChangelogMode;
use std::collections::HashSet;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

/// Most rows that are gathered where 'sink.buffer-flush.max-rows' sets no number.
const MAX_ROWS: usize = 100_000;

#[derive(Debug, Clone)]
pub(super) struct JdbcSink {
    pub table: RemoteTable,
    pub primary_key: Vec<String>,
    /// `sink.buffer-flush.max-rows`; 0 for [`MAX_ROWS`].
    pub max_rows: usize,
    /// `sink.buffer-flush.interval` in milliseconds; 0 for none.
    pub interval_ms: u64,
    pub max_retries: u32,
    pub parallelism: Option<usize>,
}

impl Sink for JdbcSink {
    fn accepts(&self) -> ChangelogMode {
        if self.primary_key.is_empty() { ChangelogMode::APPEND } else { ChangelogMode::UPSERT }
    }

    fn describe(&self) -> String {
        self.table.describe()
    }

    fn parallelism(&self) -> Option<usize> {
        self.parallelism
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer>> {
        let types = types_of(context.schema.fields())?;
        let keys =
            (0..types.len()).filter(|i| self.primary_key.contains(context.schema.field(*i).name())).collect();
        let mut writer = JdbcWriter {
            sink: self.clone(),
            types,
            keys,
            context,
            rows: Vec::new(),
            count: 0,
            session: None,
        };
        // What is wrong with the table is told when the job starts.
        let runtime = writer.context.runtime.clone();
        writer.session = Some(runtime.block_on(writer.connect())?);
        Ok(Box::new(writer))
    }
}

struct JdbcWriter {
    sink: JdbcSink,
    types: Vec<PgType>,
    keys: Vec<usize>,
    context: WriterContext,
    rows: Vec<ChangeBatch>,
    count: usize,
    session: Option<Session>,
}

struct Session {
    client: Client,
    upsert: Statement,
    delete: Option<Statement>,
}

/// What is to be written.
struct Work {
    upserts: RecordBatch,
    /// Keys.
    deletes: RecordBatch,
}

impl JdbcWriter {
    fn schema(&self) -> &SchemaRef {
        &self.context.schema
    }

    async fn connect(&self) -> Result<Session> {
        let table = &self.sink.table;
        let client = client::connect(&table.target).await?;
        let fields = self.schema().fields();
        let of = table.types(&client, fields).await?;
        let names: Vec<String> = fields.iter().map(|f| quoted(f.name())).collect();
        let places: Vec<String> = (0..fields.len()).map(|i| format!("c{i}")).collect();
        let value = |index: &usize| match (&self.types[*index], &of[*index]) {
            (pg @ PgType::Array(_), _) => format!("v.c{index}::{}", pg.name()),
            // A text is no JSON, UUID, … by itself.
            (PgType::Text, of) if !is_text(of) => {
                format!("v.c{index}::{}.{}", quoted(of.schema()), quoted(of.name()))
            }
            _ => format!("v.c{index}"),
        };
        let values: Vec<String> = (0..fields.len()).map(|i| value(&i)).collect();
        let parameters: Vec<String> =
            self.types.iter().enumerate().map(|(i, t)| t.parameter(i + 1)).collect();
        let mut upsert = format!(
            "INSERT INTO {} ({}) SELECT {} FROM unnest({}) AS v({})",
            table.sql(),
            names.join(", "),
            values.join(", "),
            parameters.join(", "),
            places.join(", "),
        );
        let mut delete = None;
        if !self.keys.is_empty() {
            let key: Vec<&str> = self.keys.iter().map(|k| names[*k].as_str()).collect();
            let rest = (0..names.len()).filter(|i| !self.keys.contains(i));
            let set: Vec<String> = rest.map(|i| format!("{0} = EXCLUDED.{0}", names[i])).collect();
            upsert += &match set.is_empty() {
                true => format!(" ON CONFLICT ({}) DO NOTHING", key.join(", ")),
                false => format!(" ON CONFLICT ({}) DO UPDATE SET {}", key.join(", "), set.join(", ")),
            };
            let parameters: Vec<String> =
                self.keys.iter().enumerate().map(|(i, k)| self.types[*k].parameter(i + 1)).collect();
            let places: Vec<String> = self.keys.iter().map(|k| format!("c{k}")).collect();
            let equal: Vec<String> =
                self.keys.iter().map(|k| format!("t.{} = {}", names[*k], value(k))).collect();
            delete = Some(format!(
                "DELETE FROM {} AS t USING unnest({}) AS v({}) WHERE {}",
                table.sql(),
                parameters.join(", "),
                places.join(", "),
                equal.join(" AND ")
            ));
        }
        let failed = |e: tokio_postgres::Error| {
            client::error(&table.target, &format!("writing to '{}'", table.name), &e)
        };
        let upsert = client.prepare(&upsert).await.map_err(failed)?;
        let delete = match delete {
            Some(sql) => Some(client.prepare(&sql).await.map_err(failed)?),
            None => None,
        };
        Ok(Session { client, upsert, delete })
    }

    /// What the gathered rows come to: of each key only the last change.
    fn work(&self) -> Result<Work> {
        let all = concat_batches(self.schema(), self.rows.iter().map(ChangeBatch::records))?;
        if self.keys.is_empty() {
            return Ok(Work { deletes: all.slice(0, 0), upserts: all });
        }
        let kinds: Vec<bool> =
            self.rows.iter().flat_map(|b| (0..b.num_rows()).map(|row| b.kind(row).is_addition())).collect();
        let keys = all.project(&self.keys)?;
        let fields = keys.schema().fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        let texts = RowConverter::new(fields)?.convert_columns(keys.columns())?;
        let mut seen = HashSet::new();
        let (mut upserts, mut deletes) = (Vec::new(), Vec::new());
        for row in (0..all.num_rows()).rev() {
            if seen.insert(texts.row(row)) {
                let list = if kinds[row] { &mut upserts } else { &mut deletes };
                list.push(row as u32);
            }
        }
        upserts.reverse();
        deletes.reverse();
        Ok(Work {
            upserts: take_record_batch(&all, &UInt32Array::from(upserts))?,
            deletes: take_record_batch(&keys, &UInt32Array::from(deletes))?,
        })
    }

    /// Sends once, over a new connection where the last one is broken. An error comes with whether another try may do.
    async fn try_to_send(
        &mut self,
        work: &Work,
        upserts: &[ColumnParam],
        deletes: &[ColumnParam],
    ) -> std::result::Result<(), (Error, bool)> {
        let mut session = match self.session.take().filter(|s| !s.client.is_closed()) {
            Some(session) => session,
            None => self.connect().await.map_err(|e| {
                let again = e.retry();
                (e, again)
            })?,
        };
        session.write(work, upserts, deletes).await.map_err(|e| {
            let table = &self.sink.table;
            (
                client::error(&table.target, &format!("writing to '{}'", table.name), &e),
                client::is_transient(&e),
            )
        })?;
        self.session = Some(session);
        Ok(())
    }

    async fn send(&mut self, work: &Work) -> Result<()> {
        let parameters = |records: &RecordBatch, types: Vec<&PgType>| {
            types
                .into_iter()
                .zip(records.columns())
                .map(|(t, c)| ColumnParam::new(t, c))
                .collect::<Result<Vec<_>>>()
        };
        let upserts = parameters(&work.upserts, self.types.iter().collect())?;
        let deletes = match self.keys.is_empty() {
            true => Vec::new(),
            false => parameters(&work.deletes, self.keys.iter().map(|k| &self.types[*k]).collect())?,
        };
        let mut tries = 0;
        loop {
            let (error, again) = match self.try_to_send(work, &upserts, &deletes).await {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            tries += 1;
            if !again || tries > self.sink.max_retries {
                return Err(error);
            }
            tokio::time::sleep(client::RETRY_DELAY * tries).await;
        }
    }
}

impl Session {
    /// All or nothing.
    async fn write(
        &mut self,
        work: &Work,
        upserts: &[ColumnParam],
        deletes: &[ColumnParam],
    ) -> std::result::Result<(), tokio_postgres::Error> {
        fn refer(parameters: &[ColumnParam]) -> Vec<&(dyn ToSql + Sync)> {
            parameters.iter().map(|p| p as &(dyn ToSql + Sync)).collect()
        }
        let transaction = self.client.transaction().await?;
        if let Some(delete) = self.delete.as_ref().filter(|_| work.deletes.num_rows() > 0) {
            transaction.execute(delete, &refer(deletes)).await?;
        }
        if work.upserts.num_rows() > 0 {
            transaction.execute(&self.upsert, &refer(upserts)).await?;
        }
        transaction.commit().await
    }
}

impl Writer for JdbcWriter {
    fn write(&mut self, batch: ChangeBatch) -> Result<()> {
        let most = if self.sink.max_rows == 0 { MAX_ROWS } else { self.sink.max_rows };
        let mut from = 0;
        while from < batch.num_rows() {
            let length = (most - self.count).min(batch.num_rows() - from);
            self.rows.push(batch.slice(from, length));
            self.count += length;
            from += length;
            if self.count >= most {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let work = self.work()?;
        let runtime = self.context.runtime.clone();
        runtime.block_on(self.send(&work))?;
        Metrics::add(&self.context.metrics.records, self.count);
        self.rows.clear();
        self.count = 0;
        Ok(())
    }

    fn flush_interval_ms(&self) -> Option<u64> {
        Some(self.sink.interval_ms).filter(|ms| *ms > 0)
    }
}
