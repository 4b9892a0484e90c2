//! Looking rows up: the keys of a whole batch travel as one array for each column, in one query.

use super::client;
use super::table::{RemoteTable, quoted, records, selected};
use super::types::{ColumnParam, PgType, is_text, types_of};
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use engine::connector::{Found, KeyedReader, KeyedTable, LookupContext, LookupRequest};
use engine::error::{Error, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

#[derive(Debug, Clone)]
pub(super) struct JdbcLookup {
    pub table: RemoteTable,
    /// `lookup.max-retries`.
    pub max_retries: u32,
}

impl KeyedTable for JdbcLookup {
    fn describe(&self) -> String {
        self.table.describe()
    }

    fn reader(&self, context: LookupContext) -> Result<Box<dyn KeyedReader>> {
        let types = types_of(context.projection.fields())?;
        let shared = Arc::new(Shared {
            keys: context.keys.iter().map(|k| types[*k].clone()).collect(),
            types,
            lookup: self.clone(),
            schema: Arc::clone(&context.projection),
            columns: context.keys.clone(),
            session: Mutex::new(None),
        });
        // What is wrong with the table is told when the job starts.
        context.runtime.block_on(async { shared.session(None).await.map(drop) })?;
        Ok(Box::new(JdbcReader { shared, context }))
    }
}

struct JdbcReader {
    shared: Arc<Shared>,
    context: LookupContext,
}

impl KeyedReader for JdbcReader {
    fn ask(&mut self, keys: RecordBatch, delay: Duration) -> Result<LookupRequest> {
        let shared = Arc::clone(&self.shared);
        Ok(LookupRequest::spawn(&self.context.runtime, async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            shared.answer(&keys).await
        }))
    }
}

/// What the requests of a task share: requests on their way use one connection, one behind the other.
struct Shared {
    lookup: JdbcLookup,
    schema: SchemaRef,
    types: Vec<PgType>,
    /// Indexes of the key's columns in `schema`, and their types.
    columns: Vec<usize>,
    keys: Vec<PgType>,
    session: Mutex<Option<Arc<Session>>>,
}

struct Session {
    client: Client,
    query: Statement,
}

impl Shared {
    /// The connection; another than `broken`.
    async fn session(&self, broken: Option<&Arc<Session>>) -> Result<Arc<Session>> {
        let mut kept = self.session.lock().await;
        if let Some(session) = kept.as_ref()
            && !session.client.is_closed()
            && broken.is_none_or(|b| !Arc::ptr_eq(b, session))
        {
            return Ok(Arc::clone(session));
        }
        let table = &self.lookup.table;
        let client = client::connect(&table.target).await?;
        let fields = self.schema.fields();
        let of = table.types(&client, fields).await?;
        let mut columns = vec!["k.n".to_string()];
        for (index, field) in fields.iter().enumerate() {
            columns.push(selected("t.", field.name(), &self.types[index], &of[index]));
        }
        let parameters: Vec<String> = self.keys.iter().enumerate().map(|(i, k)| k.parameter(i + 1)).collect();
        let names: Vec<String> = (0..self.keys.len()).map(|i| format!("k{i}")).collect();
        let equal: Vec<String> = self
            .columns
            .iter()
            .zip(&names)
            .map(|(column, name)| {
                let own = quoted(fields[*column].name());
                match self.types[*column] {
                    PgType::Text if !is_text(&of[*column]) => format!("t.{own}::text = k.{name}"),
                    _ => format!("t.{own} = k.{name}"),
                }
            })
            .collect();
        let sql = format!(
            "SELECT {} FROM unnest({}) WITH ORDINALITY AS k({}, n) JOIN {} AS t ON {}",
            columns.join(", "),
            parameters.join(", "),
            names.join(", "),
            table.sql(),
            equal.join(" AND "),
        );
        let query = client
            .prepare(&sql)
            .await
            .map_err(|e| client::error(&table.target, &format!("looking up in '{}'", table.name), &e))?;
        let session = Arc::new(Session { client, query });
        *kept = Some(Arc::clone(&session));
        Ok(session)
    }

    async fn answer(&self, keys: &RecordBatch) -> Result<Found> {
        let parameters = self
            .keys
            .iter()
            .zip(keys.columns())
            .map(|(pg, column)| ColumnParam::new(pg, column))
            .collect::<Result<Vec<_>>>()?;
        let parameters: Vec<&(dyn ToSql + Sync)> =
            parameters.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
        let mut broken = None;
        let mut tries = 0;
        loop {
            let asked = match self.session(broken.as_ref()).await {
                Ok(session) => match session.client.query(&session.query, &parameters).await {
                    Ok(rows) => return self.found(&rows),
                    Err(e) => {
                        let table = &self.lookup.table;
                        let again = client::is_transient(&e);
                        broken = Some(session);
                        (client::error(&table.target, &format!("looking up in '{}'", table.name), &e), again)
                    }
                },
                Err(e) => {
                    let again = e.retry();
                    (e, again)
                }
            };
            tries += 1;
            if !asked.1 || tries > self.lookup.max_retries {
                return Err(asked.0);
            }
            tokio::time::sleep(client::RETRY_DELAY * tries).await;
        }
    }

    fn found(&self, rows: &[tokio_postgres::Row]) -> Result<Found> {
        let target = &self.lookup.table.target;
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            let number: i64 = row.try_get(0).map_err(|e| client::error(target, "looking up", &e))?;
            keys.push(
                u32::try_from(number - 1).map_err(|_| Error::internal("a lookup's key without a number"))?,
            );
        }
        let found = records(rows, 1, &self.types, &self.schema, target)?;
        // The rows of a key stay in the order in which they came, keys in theirs.
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        order.sort_by_key(|row| keys[*row as usize]);
        let rows = take_record_batch(&found, &UInt32Array::from(order.clone()))?;
        Ok(Found { rows, keys: order.iter().map(|row| keys[*row as usize]).collect() })
    }
}
