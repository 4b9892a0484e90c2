//! A proxy before the local Kinesis that plays what it cannot: throttling, expired iterators, partial failures.

use crate::services;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Operation and `Authorization` header of each request so far.
type Log = Arc<Mutex<Vec<(String, String)>>>;

/// What the proxy does with a request.
pub enum Fault {
    /// Hands it on.
    Pass,
    /// Answers with an error: status and type.
    Error(u16, &'static str),
    /// Answers with a page that is none of AWS.
    Page(u16),
    /// Hands on all records of a PutRecords but every `n`th, which it refuses.
    RefuseEvery(usize),
}

/// Stands before the service and plays faults: `plan` is asked with the operation and its count so far.
pub struct Proxy {
    /// Its endpoint.
    pub url: String,
    log: Log,
}

impl Proxy {
    /// A proxy on a port of its own, for as long as the process lives.
    pub fn new(plan: impl Fn(&str, usize) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Log::default();
        let (plan, seen) = (Arc::new(plan), log.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (plan, seen) = (plan.clone(), seen.clone());
                std::thread::spawn(move || serve(connection, &*plan, &seen));
            }
        });
        Self { url, log }
    }

    /// Operation and `Authorization` header of each request so far.
    pub fn requests(&self) -> Vec<(String, String)> {
        self.log.lock().unwrap().clone()
    }

    /// Requests of one operation so far.
    pub fn count(&self, operation: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|(o, _)| o == operation).count()
    }
}

fn read_message(reader: &mut impl BufRead) -> Option<(Vec<String>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_string();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let value = |name: &str| {
        head.iter().find_map(|l| {
            l.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
        })
    };
    let mut body = Vec::new();
    if value("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let start = body.len();
            body.resize(start + size + 2, 0);
            reader.read_exact(&mut body[start..]).ok()?;
            body.truncate(start + size);
            if size == 0 {
                break;
            }
        }
    } else {
        body.resize(value("content-length")?.parse().ok()?, 0);
        reader.read_exact(&mut body).ok()?;
    }
    Some((head, body))
}

fn header<'a>(head: &'a [String], name: &str) -> &'a str {
    let of = |l: &'a String| {
        l.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    };
    head.iter().find_map(of).unwrap_or("")
}

fn forward(head: &[String], body: &[u8]) -> (u16, Vec<u8>) {
    let address = services::kinesis();
    let mut server = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    let mut request = format!("{}\r\n", head[0]);
    for line in &head[1..] {
        if !line.to_ascii_lowercase().starts_with("content-length") {
            request.push_str(&format!("{line}\r\n"));
        }
    }
    request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    server.write_all(request.as_bytes()).unwrap();
    server.write_all(body).unwrap();
    let (head, body) = read_message(&mut BufReader::new(server)).unwrap();
    (head[0].split(' ').nth(1).unwrap().parse().unwrap(), body)
}

fn serve(mut client: TcpStream, plan: &dyn Fn(&str, usize) -> Fault, log: &Mutex<Vec<(String, String)>>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    while let Some((head, body)) = read_message(&mut reader) {
        let operation = header(&head, "x-amz-target").rsplit('.').next().unwrap_or("").to_string();
        let count = {
            let mut log = log.lock().unwrap();
            log.push((operation.clone(), header(&head, "authorization").to_string()));
            log.iter().filter(|(o, _)| *o == operation).count()
        };
        let (status, answer) = match plan(&operation, count) {
            Fault::Pass => forward(&head, &body),
            Fault::Error(status, kind) => {
                (status, json!({ "__type": kind, "message": "said the proxy" }).to_string().into_bytes())
            }
            Fault::Page(status) => (status, b"<html>not here</html>".to_vec()),
            Fault::RefuseEvery(n) => refuse_every(n, &head, &body),
        };
        let answer_head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if client.write_all(answer_head.as_bytes()).and_then(|()| client.write_all(&answer)).is_err() {
            return;
        }
    }
}

fn refuse_every(n: usize, head: &[String], body: &[u8]) -> (u16, Vec<u8>) {
    let mut request = serde_json::from_slice::<Value>(body).unwrap();
    let records = request["Records"].as_array().unwrap().clone();
    let refused = |i: usize| i % n == n - 1;
    let kept = records.iter().enumerate().filter(|(i, _)| !refused(*i)).map(|(_, r)| r.clone());
    request["Records"] = kept.collect();
    let mut taken = if request["Records"].as_array().unwrap().is_empty() {
        Vec::new()
    } else {
        let (status, answer) = forward(head, request.to_string().as_bytes());
        assert_eq!(status, 200);
        serde_json::from_slice::<Value>(&answer).unwrap()["Records"].as_array().unwrap().clone()
    }
    .into_iter();
    let results = (0..records.len()).map(|i| match refused(i) {
        true => {
            json!({ "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded" })
        }
        false => taken.next().unwrap(),
    });
    let results = results.collect::<Vec<_>>();
    let failed = (0..records.len()).filter(|i| refused(*i)).count();
    (200, json!({ "FailedRecordCount": failed, "Records": results }).to_string().into_bytes())
}
