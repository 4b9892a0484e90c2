//! `Connection`: one connection to one broker, plain or with TLS, logged in with SASL where that is asked for.

use super::bytes::{Answer, Body};
use super::security::{Login, Security};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Largest answer that is taken, in bytes: transactions of a whole broker.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A request: its number in the protocol, its version here, and whether that version is one of the compact ones.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Api {
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
pub(in super::super) struct Connection {
    stream: Box<dyn Stream>,
    /// The socket below, to wait for.
    tcp: TcpStream,
    client_id: String,
    next: i32,
    /// Requests that the broker knows: number, oldest and newest version.
    known: Vec<(i16, i16, i16)>,
    /// The length in front of the answer that is being received, and how many bytes are there, the length's included.
    length: [u8; 4],
    received: usize,
}

impl Connection {
    /// Connects to `host:port` and logs in. Every wait ends after `timeout`.
    ///
    /// Errors: `PermissionDenied` where the broker does not let this client in.
    pub(in super::super) fn open(
        broker: &str,
        client_id: &str,
        security: &Security,
        timeout: Duration,
    ) -> io::Result<Self> {
        let (host, port) = broker.rsplit_once(':').unwrap_or((broker, "9092"));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port: u16 = port.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no port"))?;
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
        let stream = security.wrap(tcp.try_clone()?, host)?;
        let (client_id, known) = (client_id.to_string(), Vec::new());
        let mut connection = Self { stream, tcp, client_id, next: 0, known, length: [0; 4], received: 0 };
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
    pub(in super::super) fn call(&mut self, api: Api, body: &[u8]) -> io::Result<Vec<u8>> {
        self.check(api)?;
        self.exchange(api, body)
    }

    /// Whether the broker knows a request.
    ///
    /// Errors: `Unsupported` if not.
    pub(in super::super) fn check(&self, api: Api) -> io::Result<()> {
        let knows = |(key, oldest, newest): &(i16, i16, i16)| {
            *key == api.key && (*oldest..=*newest).contains(&api.version)
        };
        if !self.known.iter().any(knows) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the broker does not know this request"));
        }
        Ok(())
    }

    fn exchange(&mut self, api: Api, body: &[u8]) -> io::Result<Vec<u8>> {
        self.send(api, body)?;
        let mut bytes = Vec::new();
        let Some(answer) = self.receive(api, &mut bytes, MAX_ANSWER_BYTES)? else {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the broker does not answer"));
        };
        bytes.truncate(answer.end);
        bytes.drain(..answer.start);
        Ok(bytes)
    }

    /// Sends a request. Before the next one its answer must be received.
    ///
    /// Errors: lost connections.
    pub(in super::super) fn send(&mut self, api: Api, body: &[u8]) -> io::Result<()> {
        self.next = self.next.wrapping_add(1);
        let mut header =
            Body::default().int16(api.key).int16(api.version).int32(self.next).string(&self.client_id);
        if api.compact {
            header = header.no_tags();
        }
        let length = i32::try_from(header.0.len() + body.len()).map_err(|_| malformed())?;
        let mut frame = Body::default().int32(length).0;
        frame.extend(header.0);
        frame.extend(body);
        self.stream.write_all(&frame)?;
        self.stream.flush()
    }

    /// Receives what is there of the answer to the request that was sent; `None` if that is not all of it: call
    /// again with the same `buffer`, which only grows. Otherwise where in `buffer` the answer's body lies.
    ///
    /// Errors: lost connections, answers to something else or of more than `most` bytes.
    pub(in super::super) fn receive(
        &mut self,
        api: Api,
        buffer: &mut Vec<u8>,
        most: usize,
    ) -> io::Result<Option<Range<usize>>> {
        while self.received < 4 {
            match take(&mut self.stream, &mut self.length[self.received..])? {
                0 => return Ok(None),
                n => self.received += n,
            }
        }
        let length = usize::try_from(i32::from_be_bytes(self.length)).map_err(|_| malformed())?;
        if length > most {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("an answer of {length} bytes; {most} are taken"),
            ));
        }
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        while self.received < 4 + length {
            match take(&mut self.stream, &mut buffer[self.received - 4..length])? {
                0 => return Ok(None),
                n => self.received += n,
            }
        }
        self.received = 0;
        let mut answer = Answer(&buffer[..length]);
        let same = answer.int32() == Some(self.next);
        if !same || (api.compact && answer.tags().is_none()) {
            return Err(malformed());
        }
        Ok(Some(length - answer.0.len()..length))
    }

    /// How many bytes of an answer are there.
    pub(in super::super) fn received(&self) -> usize {
        self.received
    }

    /// Whether reading waits for bytes, as it does from the beginning, or takes what is there.
    pub(in super::super) fn set_waiting(&self, waits: bool) -> io::Result<()> {
        self.tcp.set_nonblocking(!waits)
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.tcp.as_raw_fd()
    }
}

/// Reads what is there, 0 for nothing (yet).
///
/// Errors: lost connections.
fn take(stream: &mut dyn Stream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Ok(0) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed the connection"));
            }
            Ok(n) => return Ok(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(0);
            }
            Err(e) => return Err(e),
        }
    }
}

/// The error for an answer that is not as the protocol wants it.
pub(in super::super) fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no answer of a Kafka broker")
}
