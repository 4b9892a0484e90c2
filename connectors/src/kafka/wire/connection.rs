//! `Connection`: one connection to one broker, plain or with TLS, logged in with SASL where that is asked for.

use super::bytes::{Answer, Body};
use super::security::{Login, Security};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Largest answer that is taken, in bytes: transactions of a whole broker.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// What this client calls itself.
const CLIENT_ID: &str = "runnel";

/// A request: its number in the protocol, its version here, and whether that version is one of the compact ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Api {
    pub key: i16,
    pub version: i16,
    pub compact: bool,
}

const API_VERSIONS: Api = Api { key: 18, version: 0, compact: false };
const SASL_HANDSHAKE: Api = Api { key: 17, version: 1, compact: false };
const SASL_AUTHENTICATE: Api = Api { key: 36, version: 0, compact: false };

/// What can be read and written.
pub(super) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A connection to a broker. Broken for good after its first error.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    next: i32,
    /// Requests that the broker knows: number, oldest and newest version.
    known: Vec<(i16, i16, i16)>,
}

impl Connection {
    /// Connects and logs in. Every wait ends after `timeout`.
    ///
    /// Errors: `PermissionDenied` where the broker does not let this client in.
    pub(super) fn open(host: &str, port: u16, security: &Security, timeout: Duration) -> io::Result<Self> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        let mut tcp = None;
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    tcp = Some(stream);
                    break;
                }
                Err(error) => failed = error,
            }
        }
        let Some(tcp) = tcp else { return Err(failed) };
        tcp.set_read_timeout(Some(timeout))?;
        tcp.set_write_timeout(Some(timeout))?;
        tcp.set_nodelay(true)?;
        let stream = security.wrap(tcp, host)?;
        let mut connection = Self { stream, next: 0, known: Vec::new() };
        connection.greet()?;
        if let Some(login) = security.login() {
            connection.log_in(login)?;
        }
        Ok(connection)
    }

    fn greet(&mut self) -> io::Result<()> {
        let bytes = self.exchange(API_VERSIONS, &[])?;
        let mut answer = Answer(&bytes);
        let mut read = || {
            answer.int16()?;
            (0..answer.array()?)
                .map(|_| Some((answer.int16()?, answer.int16()?, answer.int16()?)))
                .collect::<Option<Vec<_>>>()
        };
        self.known = read().ok_or_else(malformed)?;
        Ok(())
    }

    fn log_in(&mut self, login: &Login) -> io::Result<()> {
        let denied = |text: String| io::Error::new(io::ErrorKind::PermissionDenied, text);
        let bytes = self.exchange(SASL_HANDSHAKE, &Body::default().string(login.mechanism()).0)?;
        if Answer(&bytes).int16().ok_or_else(malformed)? != 0 {
            return Err(denied(format!("the broker does not offer SASL {}", login.mechanism())));
        }
        let mut talk = login.begin()?;
        let mut message = talk.first();
        loop {
            let bytes = self.exchange(SASL_AUTHENTICATE, &Body::default().bytes(&message).0)?;
            let mut answer = Answer(&bytes);
            let code = answer.int16().ok_or_else(malformed)?;
            let text = answer.string().ok_or_else(malformed)?;
            if code != 0 {
                return Err(denied(if text.is_empty() { "authentication failed".into() } else { text }));
            }
            match talk.next(answer.bytes().ok_or_else(malformed)?).map_err(denied)? {
                Some(next) => message = next,
                None => return Ok(()),
            }
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// Errors: `Unsupported` where the broker does not know the request; `PermissionDenied`; lost connections.
    pub(super) fn call(&mut self, api: Api, body: &[u8]) -> io::Result<Vec<u8>> {
        let knows = |(key, oldest, newest): &(i16, i16, i16)| {
            *key == api.key && (*oldest..=*newest).contains(&api.version)
        };
        if !self.known.iter().any(knows) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the broker does not know this request"));
        }
        self.exchange(api, body)
    }

    fn exchange(&mut self, api: Api, body: &[u8]) -> io::Result<Vec<u8>> {
        let correlation = self.next;
        self.next = self.next.wrapping_add(1);
        let mut header =
            Body::default().int16(api.key).int16(api.version).int32(correlation).string(CLIENT_ID);
        if api.compact {
            header = header.no_tags();
        }
        let length = i32::try_from(header.0.len() + body.len()).map_err(|_| malformed())?;
        let mut frame = Body::default().int32(length).0;
        frame.extend(header.0);
        frame.extend(body);
        self.stream.write_all(&frame)?;
        self.stream.flush()?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| malformed())?;
        if length > MAX_ANSWER_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("an answer of {length} bytes; {MAX_ANSWER_BYTES} are taken"),
            ));
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        let mut answer = Answer(&bytes);
        let same = answer.int32() == Some(correlation);
        if !same || (api.compact && answer.tags().is_none()) {
            return Err(malformed());
        }
        let read = length - answer.0.len();
        bytes.drain(..read);
        Ok(bytes)
    }
}

/// The error for an answer that is not as the protocol wants it.
pub(super) fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no answer of a Kafka broker")
}
