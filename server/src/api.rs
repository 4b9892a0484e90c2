//! The HTTP API on loopback: JSON in and out, a token on every call but `/health`.

use crate::host::Host;
use crate::metrics;
use crate::model::{Deploy, Refusal, Start, Stop, TakeSavepoint};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use engine::Error;
use engine::error::ErrorKind;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore};

/// Longest body of a request, in bytes: a script and the definitions that it uses.
const MAX_BODY_BYTES: usize = 16 << 20;
/// Requests that are answered at once; more are turned away.
const MAX_REQUESTS: usize = 64;
/// Lines of a log where none are asked for.
const DEFAULT_TAIL: usize = 100;

/// What handlers share.
#[derive(Clone)]
struct Shared {
    host: Arc<Host>,
    token: Arc<str>,
    places: Arc<Semaphore>,
    shutdown: Arc<Notify>,
}

/// The routes. `shutdown` is notified when a client asks the server to stop.
pub fn router(host: Arc<Host>, token: &str, shutdown: Arc<Notify>) -> Router {
    let places = Arc::new(Semaphore::new(MAX_REQUESTS));
    let shared = Shared { host, token: token.into(), places, shutdown };
    Router::new()
        .route("/jobs", get(list).post(deploy))
        .route("/jobs/{name}", get(describe).delete(delete))
        .route("/jobs/{name}/stop", post(stop))
        .route("/jobs/{name}/start", post(start))
        .route("/jobs/{name}/savepoint", post(savepoint))
        .route("/jobs/{name}/logs", get(logs))
        .route("/metrics", get(metrics_page))
        .route("/shutdown", post(shut_down))
        .layer(middleware::from_fn_with_state(shared.clone(), guard))
        .route("/health", get(health))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "There is nothing at this path.", None) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(shared)
}

/// Lets in who knows the token, as many as there is room for.
async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    if !is_allowed(request.headers(), &shared.token) {
        let hint = "Send the header `Authorization: Bearer …` with the text of the server's file `token`.";
        return refusal(StatusCode::UNAUTHORIZED, "The token is missing or wrong.", Some(hint));
    }
    let Ok(_place) = shared.places.clone().try_acquire_owned() else {
        let what = format!("The server answers {MAX_REQUESTS} requests already.");
        return refusal(StatusCode::SERVICE_UNAVAILABLE, &what, Some("Try again in a moment."));
    };
    next.run(request).await
}

fn is_allowed(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let given = given.strip_prefix("Bearer ").unwrap_or_default().as_bytes();
    // As long for a wrong token as for the right one.
    let differ = given.iter().zip(token.as_bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    given.len() == token.len() && differ == 0
}

fn refusal(status: StatusCode, error: &str, hint: Option<&str>) -> Response {
    (status, Json(Refusal { error: error.to_string(), hint: hint.map(String::from) })).into_response()
}

fn failed(e: &Error, known: bool) -> Response {
    let status = match e.kind() {
        ErrorKind::User if !known => StatusCode::NOT_FOUND,
        ErrorKind::User => StatusCode::CONFLICT,
        ErrorKind::External => StatusCode::BAD_GATEWAY,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refusal(status, e.message(), e.hint())
}

/// Does what waits (for disks, processes, savepoints) beside the threads that answer.
async fn blocking<T: Serialize + Send + 'static>(
    shared: Shared,
    name: Option<String>,
    work: impl FnOnce(&Arc<Host>) -> engine::Result<T> + Send + 'static,
) -> Response {
    let host = shared.host.clone();
    match tokio::task::spawn_blocking(move || work(&host)).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(e)) => failed(&e, name.is_none_or(|n| shared.host.knows(&n))),
        Err(e) => failed(&Error::internal(format!("The request was not finished: {e}.")), true),
    }
}

async fn list(State(shared): State<Shared>) -> Response {
    blocking(shared, None, |host| Ok(host.list())).await
}

async fn deploy(State(shared): State<Shared>, Json(deploy): Json<Deploy>) -> Response {
    blocking(shared, None, move |host| host.deploy(deploy)).await
}

async fn describe(State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    blocking(shared, Some(name.clone()), move |host| host.describe(&name)).await
}

async fn delete(State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    blocking(shared, Some(name.clone()), move |host| host.delete(&name)).await
}

async fn stop(State(shared): State<Shared>, Path(name): Path<String>, Json(stop): Json<Stop>) -> Response {
    blocking(shared, Some(name.clone()), move |host| host.stop(&name, &stop)).await
}

async fn start(State(shared): State<Shared>, Path(name): Path<String>, Json(start): Json<Start>) -> Response {
    blocking(shared, Some(name.clone()), move |host| host.start(&name, start)).await
}

async fn savepoint(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Json(take): Json<TakeSavepoint>,
) -> Response {
    blocking(shared, Some(name.clone()), move |host| host.savepoint(&name, take.directory)).await
}

/// `?from=PLACE`, or `?tail=LINES`; `&out=true` for what the job printed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LogQuery {
    from: Option<u64>,
    tail: Option<usize>,
    out: bool,
}

async fn logs(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> Response {
    let tail = query.tail.unwrap_or(DEFAULT_TAIL);
    blocking(shared, Some(name.clone()), move |host| host.logs(&name, query.out, query.from, tail)).await
}

async fn metrics_page(State(shared): State<Shared>) -> Response {
    let host = shared.host.clone();
    match tokio::task::spawn_blocking(move || metrics::text(&host)).await {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(e) => failed(&Error::internal(format!("The page was not finished: {e}.")), true),
    }
}

async fn health(State(shared): State<Shared>) -> Response {
    Json(shared.host.health()).into_response()
}

async fn shut_down(State(shared): State<Shared>) -> Response {
    shared.shutdown.notify_one();
    Json(shared.host.health()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            is_allowed(&headers, "secret")
        };
        assert!(with("Bearer secret"));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer Secret", "secret", "Bearer ", "Basic secret"]
        {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(!is_allowed(&HeaderMap::new(), "secret"));
    }
}
