//! The client's side of the API: finds the server of a folder and asks it.

use crate::folder::{Endpoint, Folder};
use crate::model::{
    Deploy, Deployed, Detail, Health, LogPage, Refusal, Start, Stop, Summary, TakeSavepoint, Taken,
};
use engine::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long an answer may take, in seconds: a little more than a savepoint may.
const PATIENCE_SECONDS: u64 = crate::job::SAVEPOINT_PATIENCE_SECONDS + 60;
/// How long connecting may take, in seconds.
const CONNECT_SECONDS: u64 = 5;
/// How long a server may take to say how it is, in seconds.
const HEALTH_SECONDS: u64 = 5;
/// Longest answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Speaks to one server.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
    token: String,
    agent: ureq::Agent,
}

impl Client {
    /// The server that runs in `folder`; `None` if none answers.
    ///
    /// Errors: there is one, but its token is not ours to read.
    pub fn find(folder: &Folder) -> Result<Option<Self>> {
        let Some(endpoint) = folder.endpoint() else { return Ok(None) };
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(CONNECT_SECONDS)))
            .timeout_global(Some(Duration::from_secs(PATIENCE_SECONDS)))
            .build();
        let client = Self { endpoint, token: folder.token()?, agent: config.into() };
        Ok(client.health().is_ok_and(|h| h.pid == client.endpoint.pid).then_some(client))
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How the server is.
    ///
    /// Errors: it does not answer.
    pub fn health(&self) -> Result<Health> {
        let request = self.agent.get(self.url("/health")).config();
        let request = request.timeout_global(Some(Duration::from_secs(HEALTH_SECONDS))).build();
        answer(request.call())
    }

    /// Registers a job and starts it.
    ///
    /// Errors: what the server refuses.
    pub fn deploy(&self, deploy: &Deploy) -> Result<Deployed> {
        self.post("/jobs", deploy)
    }

    /// All jobs.
    ///
    /// Errors: the server does not answer.
    pub fn jobs(&self) -> Result<Vec<Summary>> {
        self.get("/jobs")
    }

    /// Everything about a job, by name or id.
    ///
    /// Errors: there is none.
    pub fn describe(&self, name: &str) -> Result<Detail> {
        self.get(&format!("/jobs/{}", encoded(name)))
    }

    /// Stops a job.
    ///
    /// Errors: what the server refuses.
    pub fn stop(&self, name: &str, stop: &Stop) -> Result<Taken> {
        self.post(&format!("/jobs/{}/stop", encoded(name)), stop)
    }

    /// Starts a job.
    ///
    /// Errors: what the server refuses.
    pub fn start(&self, name: &str, start: &Start) -> Result<()> {
        self.post(&format!("/jobs/{}/start", encoded(name)), start)
    }

    /// Takes a savepoint.
    ///
    /// Errors: what the server refuses.
    pub fn savepoint(&self, name: &str, take: &TakeSavepoint) -> Result<Taken> {
        self.post(&format!("/jobs/{}/savepoint", encoded(name)), take)
    }

    /// Forgets a job.
    ///
    /// Errors: what the server refuses.
    pub fn delete(&self, name: &str) -> Result<()> {
        let request = self.agent.delete(self.url(&format!("/jobs/{}", encoded(name))));
        answer(request.header("Authorization", self.bearer()).call())
    }

    /// Lines of a log: from a place on, or the last `tail`.
    ///
    /// Errors: there is no such job.
    pub fn logs(&self, name: &str, out: bool, from: Option<u64>, tail: usize) -> Result<LogPage> {
        let place = from.map_or(format!("tail={tail}"), |from| format!("from={from}"));
        self.get(&format!("/jobs/{}/logs?out={out}&{place}", encoded(name)))
    }

    /// Asks the server to stop.
    ///
    /// Errors: it does not answer.
    pub fn shut_down(&self) -> Result<Health> {
        self.post("/shutdown", &())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.endpoint.address)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        answer(self.agent.get(self.url(path)).header("Authorization", self.bearer()).call())
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        answer(self.agent.post(self.url(path)).header("Authorization", self.bearer()).send_json(body))
    }
}

fn answer<T: DeserializeOwned>(
    response: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<T> {
    let gone = |e: ureq::Error| {
        Error::external(format!("The server does not answer: {e}."))
            .with_hint("Start one: `runnel server`. It brings its jobs back.")
    };
    let mut response = response.map_err(gone)?;
    let text = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string().map_err(gone)?;
    let strange = |e: serde_json::Error| {
        Error::external(format!("The server's answer is not understood: {e}.")).with_hint(
            "Is the server of another version? Stop it with `runnel server --stop` and start it again.",
        )
    };
    if response.status().is_success() {
        return serde_json::from_str(&text).map_err(strange);
    }
    let refusal: Refusal = serde_json::from_str(&text).map_err(strange)?;
    let error = if response.status().is_server_error() {
        Error::external(refusal.error)
    } else {
        Error::user(refusal.error)
    };
    Err(error.with_hint(refusal.hint.unwrap_or_default()))
}

/// A name as part of a path.
fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_part_of_a_path() {
        assert_eq!(encoded("a-b_1.x"), "a-b_1.x");
        assert_eq!(encoded("é / b"), "%C3%A9%20%2F%20b");
    }

    #[test]
    fn no_server_is_no_error() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::at(temp.path());
        assert!(Client::find(&folder).unwrap().is_none());
        folder.create().unwrap();
        folder.new_token().unwrap();
        let gone = Endpoint { address: "127.0.0.1:1".into(), pid: 1, version: String::new() };
        folder.publish(&gone).unwrap();
        assert!(Client::find(&folder).unwrap().is_none());
    }
}
