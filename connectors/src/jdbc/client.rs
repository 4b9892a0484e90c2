//! Connections to PostgreSQL, and what their errors mean.

use super::target::{Target, Tls};
use super::tls::Connector;
use engine::error::{Error, Result};
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

/// Between two tries, times the number of the try.
pub(super) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A connection to `target`; its traffic goes on in a task of its own.
pub(super) async fn connect(target: &Target) -> Result<Client> {
    let failed = |e: tokio_postgres::Error| error(target, "connecting", &e);
    match target.tls {
        Tls::Off => {
            let (client, connection) = target.config.connect(NoTls).await.map_err(failed)?;
            tokio::spawn(connection);
            Ok(client)
        }
        Tls::Unverified | Tls::Verified { .. } => {
            let (client, connection) =
                target.config.connect(Connector::new(&target.tls)?).await.map_err(failed)?;
            tokio::spawn(connection);
            Ok(client)
        }
    }
}

/// Whether another try, on another connection, may go well.
pub(super) fn is_transient(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        // Connection exceptions, rollbacks of concurrent transactions, lack of resources, shutdowns.
        Some(code) => ["08", "40", "53", "57P"].iter().any(|class| code.code().starts_with(class)),
        None => true,
    }
}

/// What PostgreSQL, or the way to it, says.
pub(super) fn error(target: &Target, doing: &str, error: &tokio_postgres::Error) -> Error {
    let place = &target.place;
    let Some(database) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            let more = inner.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            source = inner.source();
        }
        return Error::external(format!("PostgreSQL at {place}, {doing}: {text}."))
            .with_hint("Is the server there, and are 'url' and its sslmode right?");
    };
    let mut text = format!("PostgreSQL at {place}, {doing}: {}", database.message());
    if let Some(detail) = database.detail() {
        text = format!("{text} ({})", detail.trim_end_matches('.'));
    }
    let text = format!("{}.", text.trim_end_matches('.'));
    let hint = match database.code() {
        c if *c == SqlState::INVALID_PASSWORD || *c == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "Are 'username' and 'password' right?"
        }
        c if *c == SqlState::INVALID_CATALOG_NAME => "The database is the last part of 'url'.",
        c if *c == SqlState::UNDEFINED_TABLE => {
            "'table-name' names the table, with its schema where it is not on the search path: 'schema.table'."
        }
        c if *c == SqlState::UNDEFINED_COLUMN => "The table's columns are called as those of CREATE TABLE.",
        c if *c == SqlState::INVALID_COLUMN_REFERENCE => {
            "PRIMARY KEY must name the columns of a primary key or unique index of the table in PostgreSQL."
        }
        c if *c == SqlState::INSUFFICIENT_PRIVILEGE => "GRANT the user what is missing.",
        _ => database.hint().unwrap_or_default(),
    };
    let permanent = !is_transient(error);
    let made = Error::external(text).with_hint(hint);
    if permanent { made.permanent() } else { made }
}
