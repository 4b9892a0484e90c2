//! `Fetcher`: reads partitions over connections of its own, one to each leader, on the reader's own thread. What costs
//! librdkafka some 400 ns a record (an object on the heap, a lock) costs about 100 here. All else that a reader needs
//! from the cluster (groups, offsets, topics) stays with librdkafka, and so do settings that are not served here.

mod compression;
mod protocol;
mod records;
mod settings;

use super::client::shorten;
use super::properties::Properties;
use super::wire::{Connection, Security, addresses, hopeless, malformed};
pub(super) use compression::Damage;
use protocol::{Cluster, FETCH, METADATA, Section, Wanted, code};
pub(super) use records::FetchedRecord;
use records::{Aborted, Batches};
use settings::Settings;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause before a partition, or the leaders, are asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How long a broker may take to let this client in, and to tell the leaders.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// After how long a topic that no broker knows is taken to be gone; a new one, or a broker that just started, may be
/// behind for a while.
const UNKNOWN_AFTER: Duration = Duration::from_secs(30);

/// Largest buffer that is kept for the next answer, in bytes.
const MAX_SPARE_BYTES: usize = 32 << 20;

/// A partition being read.
struct Slot {
    topic: Arc<str>,
    partition: i32,
    /// Behind the last record that came.
    next: i64,
    stop: Option<i64>,
    /// Behind the last record that can be read, as far as is known.
    end: Option<i64>,
    leader: Option<i32>,
    leader_epoch: i32,
    /// Whether it is to be asked for.
    open: bool,
    retry_at: Option<Instant>,
    unknown_since: Option<Instant>,
}

/// A connection to a leader. At most one request is on the way: while its records are decoded, the broker makes the
/// next answer, which waits in the socket.
struct Link {
    connection: Connection,
    buffer: Vec<u8>,
    /// Slots and offsets of the request that is on the way; empty if none is.
    asked: Vec<(usize, i64)>,
    moved: Instant,
}

/// A broker that is away.
struct Down {
    until: Instant,
    pause: Duration,
}

/// Why a partition is not asked for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its next record is not there (any more). `seek` goes on.
    OutOfRange,
    /// The broker found its records damaged.
    Damaged,
    /// It does not exist (any more).
    Gone,
    /// This user may not read it.
    Denied,
}

/// What came of one partition.
pub(super) struct Part {
    /// Its number, in the order of `add`.
    pub slot: usize,
    pub failure: Option<Failure>,
    /// Behind the last record that came, those without a row included.
    pub next: i64,
    /// There is nothing behind it yet.
    pub at_end: bool,
    aborted: Vec<(i64, i64)>,
    records: Range<usize>,
}

/// An answer.
pub(super) struct Fetched {
    pub parts: Vec<Part>,
    buffer: Vec<u8>,
}

/// Reads partitions.
pub(super) struct Fetcher {
    settings: Settings,
    security: Security,
    client_id: String,
    bootstrap: String,
    slots: Vec<Slot>,
    /// `host:port` of brokers.
    brokers: HashMap<i32, String>,
    links: BTreeMap<i32, Link>,
    down: HashMap<i32, Down>,
    /// Asks for leaders.
    control: Option<Connection>,
    /// When leaders may be asked for again.
    ask_at: Instant,
    pause: Duration,
    /// Why no broker answers.
    lost: Option<String>,
    failures: Vec<(usize, Failure)>,
    /// Counts answers: whose turn it is to be first.
    turn: usize,
    spare: Vec<u8>,
    /// For decompressed records.
    room: Vec<u8>,
    /// Time spent waiting for answers that nobody has asked for yet.
    waited: Duration,
}

impl Fetcher {
    /// Does not connect yet. `None` if there are settings that only librdkafka can serve.
    pub(super) fn new(properties: &Properties) -> Option<Self> {
        let settings = Settings::new(properties)?;
        Some(Self {
            settings,
            security: properties.security().ok()?,
            client_id: properties.client_id().to_string(),
            bootstrap: properties.brokers().to_string(),
            slots: Vec::new(),
            brokers: HashMap::new(),
            links: BTreeMap::new(),
            down: HashMap::new(),
            control: None,
            ask_at: Instant::now(),
            pause: RETRY_PAUSE,
            lost: None,
            failures: Vec::new(),
            turn: 0,
            spare: Vec::new(),
            room: Vec::new(),
            waited: Duration::ZERO,
        })
    }

    /// Begins to read a partition at an offset. It gets the next number, from 0 on.
    pub(super) fn add(&mut self, topic: Arc<str>, partition: i32, next: i64, stop: Option<i64>) {
        self.slots.push(Slot {
            topic,
            partition,
            next,
            stop,
            end: None,
            leader: None,
            leader_epoch: -1,
            open: stop.is_none_or(|stop| next < stop),
            retry_at: None,
            unknown_since: None,
        });
    }

    /// Goes on at another offset.
    pub(super) fn seek(&mut self, slot: usize, next: i64) {
        let slot = &mut self.slots[slot];
        slot.next = next;
        slot.open = slot.stop.is_none_or(|stop| next < stop);
    }

    /// Reads a partition no more.
    pub(super) fn close(&mut self, slot: usize) {
        self.slots[slot].open = false;
    }

    /// Offset behind the newest record that can be read, as far as is known.
    pub(super) fn known_end(&self, slot: usize) -> Option<i64> {
        self.slots.get(slot)?.end
    }

    /// Why no broker answers, if none does.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// Waits for an answer, at most `timeout` (and as long as it takes to connect); `None` if none came.
    ///
    /// Errors: reading cannot go on this way, for a reason that does not pass; librdkafka may know better.
    pub(super) fn poll(&mut self, timeout: Duration) -> io::Result<Option<Fetched>> {
        let deadline = Instant::now() + timeout;
        loop {
            let now = Instant::now();
            self.find_leaders(now)?;
            self.ask(now)?;
            if let Some(fetched) = self.receive(now)? {
                return Ok(Some(fetched));
            }
            if !self.failures.is_empty() {
                let part = |(slot, failure)| Part::failed(slot, failure, self.slots[slot].next);
                let parts = mem::take(&mut self.failures).into_iter().map(part).collect();
                return Ok(Some(Fetched { parts, buffer: Vec::new() }));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.wait(left.min(RETRY_PAUSE));
            self.waited += now.elapsed();
        }
    }

    /// How long it has waited for answers since this was last asked.
    pub(super) fn take_waited(&mut self) -> Duration {
        mem::take(&mut self.waited)
    }

    /// Calls `take` with the records of a part that are to be read.
    ///
    /// Errors: they are damaged.
    pub(super) fn read(
        &mut self,
        fetched: &Fetched,
        part: &Part,
        mut take: impl FnMut(&FetchedRecord<'_>),
    ) -> Result<(), Damage> {
        let Self { settings, room, .. } = self;
        let mut aborted = Aborted::new(part.aborted.clone());
        for batch in Batches(&fetched.buffer[part.records.clone()]) {
            if settings.check_crcs && !batch.is_sound() {
                return Err(Damage("its checksum is wrong"));
            }
            if (settings.committed && aborted.hides(batch)) || batch.is_control() {
                continue;
            }
            for record in batch.records(batch.open(room)?) {
                take(&record?);
            }
        }
        Ok(())
    }

    /// Takes an answer's memory back.
    pub(super) fn give_back(&mut self, fetched: Fetched) {
        if fetched.buffer.len() <= MAX_SPARE_BYTES {
            self.spare = fetched.buffer;
        }
    }

    fn find_leaders(&mut self, now: Instant) -> io::Result<()> {
        let lost = |s: &&Slot| s.open && s.leader.is_none();
        if now < self.ask_at || !self.slots.iter().any(|s| lost(&s)) {
            return Ok(());
        }
        let topics = self.slots.iter().filter(lost).map(|s| s.topic.clone()).collect::<BTreeSet<_>>();
        let body = protocol::ask_leaders(topics.iter().map(AsRef::as_ref));
        match self.control(&body) {
            Ok(cluster) => {
                self.lost = None;
                self.pause = RETRY_PAUSE;
                self.ask_at = now + RETRY_PAUSE;
                self.learn(cluster, now);
            }
            Err(error) if is_futile(&error) => return Err(error),
            Err(error) => {
                self.lost = Some(shorten(&error.to_string()));
                self.ask_at = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(self.settings.max_reconnect);
            }
        }
        Ok(())
    }

    /// Asks one broker after the other for the leaders.
    fn control(&mut self, body: &[u8]) -> io::Result<Cluster> {
        let ask = |connection: &mut Connection| {
            protocol::leaders(&connection.call(METADATA, body)?).ok_or_else(malformed)
        };
        if let Some(mut connection) = self.control.take()
            && let Ok(cluster) = ask(&mut connection)
        {
            self.control = Some(connection);
            return Ok(cluster);
        }
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "there is no broker");
        let known = self.brokers.values().map(String::as_str);
        for broker in known.chain(addresses(&self.bootstrap)) {
            let open = || {
                let mut connection = Connection::open(broker, &self.client_id, &self.security, ANSWER_WAIT)?;
                let cluster = ask(&mut connection)?;
                Ok((connection, cluster))
            };
            match open() {
                Ok((connection, cluster)) => {
                    self.control = Some(connection);
                    return Ok(cluster);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn learn(&mut self, cluster: Cluster, now: Instant) {
        let Self { slots, failures, .. } = self;
        for (index, slot) in slots.iter_mut().enumerate().filter(|(_, s)| s.open && s.leader.is_none()) {
            let topic = cluster.topics.iter().find(|t| *t.name == *slot.topic);
            if topic.is_some_and(|t| t.error == code::TOPIC_AUTHORIZATION_FAILED) {
                slot.open = false;
                failures.push((index, Failure::Denied));
                continue;
            }
            let found =
                topic.and_then(|t| t.partitions.iter().find(|(number, ..)| *number == slot.partition));
            match found {
                Some((_, leader, epoch)) => {
                    slot.leader = (*leader >= 0).then_some(*leader);
                    slot.leader_epoch = *epoch;
                }
                None if topic.is_some_and(|t| ![0, code::UNKNOWN_TOPIC_OR_PARTITION].contains(&t.error)) => {}
                None => slot.miss(index, now, failures),
            }
        }
        self.brokers = cluster.brokers.into_iter().collect();
    }

    /// Sends a request to each leader that has none.
    fn ask(&mut self, now: Instant) -> io::Result<()> {
        let idle = |node: &i32| self.links.get(node).is_none_or(|l| l.asked.is_empty());
        let ready = |s: &&Slot| s.open && s.retry_at.is_none_or(|at| at <= now);
        let nodes = self.slots.iter().filter(ready).filter_map(|s| s.leader).filter(idle);
        for node in nodes.collect::<BTreeSet<_>>() {
            if self.down.get(&node).is_some_and(|d| d.until > now) {
                continue;
            }
            match self.ask_node(node, now) {
                Ok(()) => {}
                Err(error) if is_futile(&error) => return Err(error),
                Err(_) => self.lose(node),
            }
        }
        Ok(())
    }

    fn ask_node(&mut self, node: i32, now: Instant) -> io::Result<()> {
        let Self { slots, links, settings, .. } = self;
        let link = match links.entry(node) {
            std::collections::btree_map::Entry::Occupied(link) => link.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let unknown = || io::Error::new(io::ErrorKind::NotFound, "the leader's address is not known");
                let broker = self.brokers.get(&node).ok_or_else(unknown)?;
                let connection = Connection::open(broker, &self.client_id, &self.security, ANSWER_WAIT)?;
                connection.check(FETCH)?;
                place.insert(Link { connection, buffer: Vec::new(), asked: Vec::new(), moved: now })
            }
        };
        let mine = |s: &Slot| s.open && s.leader == Some(node) && s.retry_at.is_none_or(|at| at <= now);
        link.asked.extend(slots.iter().enumerate().filter(|(_, s)| mine(s)).map(|(i, s)| (i, s.next)));
        // An answer is filled in the order of the request: each partition is the first one at times.
        if !link.asked.is_empty() {
            let first = self.turn % link.asked.len();
            link.asked.rotate_left(first);
        }
        let wanted = link.asked.iter().map(|(index, offset)| {
            let slot = &slots[*index];
            let Slot { topic, partition, leader_epoch, .. } = slot;
            Wanted { topic, partition: *partition, leader_epoch: *leader_epoch, offset: *offset }
        });
        let body = protocol::ask_records(settings, &wanted.collect::<Vec<_>>());
        link.moved = now;
        link.connection.set_waiting(true)?;
        link.connection.send(FETCH, &body)?;
        link.connection.set_waiting(false)
    }

    fn receive(&mut self, now: Instant) -> io::Result<Option<Fetched>> {
        if self.links.values().all(|l| l.asked.is_empty()) {
            return Ok(None);
        }
        let nodes = self.links.keys().copied().collect::<Vec<_>>();
        for n in 0..nodes.len() {
            let node = nodes[(self.turn + n) % nodes.len()];
            let Some(link) = self.links.get_mut(&node).filter(|l| !l.asked.is_empty()) else { continue };
            let before = link.connection.received();
            let silence = self.settings.silence + Duration::from_millis(self.settings.wait_ms as u64);
            match link.connection.receive(FETCH, &mut link.buffer, self.settings.max_answer_bytes) {
                Ok(None) if link.connection.received() > before => link.moved = now,
                Ok(None) if now.saturating_duration_since(link.moved) > silence => {
                    self.lose(node);
                }
                Ok(None) => {}
                Ok(Some(body)) => {
                    self.turn = self.turn.wrapping_add(1);
                    let buffer = mem::replace(&mut link.buffer, mem::take(&mut self.spare));
                    let asked = mem::take(&mut link.asked);
                    let parts = self.take(&buffer, body, &asked, now)?;
                    self.down.remove(&node);
                    self.lost = None;
                    self.ask(now)?;
                    return Ok(Some(Fetched { parts, buffer }));
                }
                Err(error) if is_futile(&error) => return Err(error),
                Err(_) => self.lose(node),
            }
        }
        Ok(None)
    }

    /// Moves partitions behind what came.
    fn take(
        &mut self,
        buffer: &[u8],
        body: Range<usize>,
        asked: &[(usize, i64)],
        now: Instant,
    ) -> io::Result<Vec<Part>> {
        let Self { slots, failures, settings, .. } = self;
        let mut parts = Vec::with_capacity(asked.len());
        let mut old_format = false;
        let mut place = 0;
        let error = protocol::records(&buffer[body.clone()], |topic, section| {
            // Nearly always in the order of the request.
            let is = |(index, _): &(usize, i64)| {
                slots[*index].partition == section.partition && *slots[*index].topic == *topic
            };
            let at = (place..asked.len()).chain(0..place).find(|at| is(&asked[*at]));
            let Some(at) = at else { return };
            place = at + 1;
            let (index, offset) = asked[at];
            let slot = &mut slots[index];
            // It may have been closed or moved since it was asked for.
            if !slot.open || slot.next != offset {
                return;
            }
            match slot.take(index, section, settings, now, failures, &buffer[body.clone()]) {
                Ok(part) => parts.extend(part.map(|part| Part {
                    records: part.records.start + body.start..part.records.end + body.start,
                    ..part
                })),
                Err(OldFormat) => old_format = true,
            }
        });
        if old_format {
            let text = "records in a format from before Kafka 0.11";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        match error {
            Some(0) => Ok(parts),
            Some(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "the broker refuses the request")),
            None => Err(malformed()),
        }
    }

    /// The connection is no more. The leaders are asked for, which tells whether any broker is there.
    fn lose(&mut self, node: i32) {
        self.links.remove(&node);
        let now = Instant::now();
        let pause = self.down.get(&node).map_or(Duration::ZERO, |d| d.pause.max(RETRY_PAUSE / 2) * 2);
        let pause = pause.min(self.settings.max_reconnect);
        self.down.insert(node, Down { until: now + pause, pause });
        for slot in self.slots.iter_mut().filter(|s| s.leader == Some(node)) {
            slot.leader = None;
        }
        self.ask_at = self.ask_at.max(now + pause.min(RETRY_PAUSE));
    }

    /// Waits until an answer goes on, or the time is over.
    fn wait(&self, timeout: Duration) {
        let on_the_way = self.links.values().filter(|l| !l.asked.is_empty());
        let fd = |l: &Link| libc::pollfd { fd: l.connection.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut fds = on_the_way.map(fd).collect::<Vec<_>>();
        if fds.is_empty() {
            std::thread::sleep(timeout);
            return;
        }
        let ms = libc::c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX);
        // SAFETY: `fds` is alive and has as many elements as is said. What poll tells is looked up by reading.
        let _ = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, ms) };
    }
}

/// Batches of a format that is not read here.
struct OldFormat;

impl Slot {
    /// What a section of an answer has, and goes behind it.
    fn take(
        &mut self,
        index: usize,
        section: Section,
        settings: &Settings,
        now: Instant,
        failures: &mut Vec<(usize, Failure)>,
        body: &[u8],
    ) -> Result<Option<Part>, OldFormat> {
        match section.error {
            0 => {}
            code::OFFSET_OUT_OF_RANGE => return Ok(Some(self.fail(index, Failure::OutOfRange))),
            code::CORRUPT_MESSAGE => return Ok(Some(self.fail(index, Failure::Damaged))),
            code::TOPIC_AUTHORIZATION_FAILED => return Ok(Some(self.fail(index, Failure::Denied))),
            code::UNKNOWN_TOPIC_OR_PARTITION => {
                self.retry(now);
                self.miss(index, now, failures);
                return Ok(None);
            }
            // The leader has changed, or is about to, or has trouble with its disk.
            _ => {
                self.retry(now);
                return Ok(None);
            }
        }
        let mut next = self.next;
        for batch in Batches(&body[section.records.clone()]) {
            if !batch.is_known() {
                return Err(OldFormat);
            }
            next = next.max(batch.last_offset().saturating_add(1));
        }
        let end = if settings.committed { section.last_stable } else { section.high_watermark };
        self.next = next;
        self.end = Some(end);
        self.retry_at = None;
        self.unknown_since = None;
        self.open = self.stop.is_none_or(|stop| next < stop);
        let Section { aborted, records, .. } = section;
        Ok(Some(Part { slot: index, failure: None, next, at_end: next >= end, aborted, records }))
    }

    fn fail(&mut self, index: usize, failure: Failure) -> Part {
        self.open = false;
        Part::failed(index, failure, self.next)
    }

    fn retry(&mut self, now: Instant) {
        self.leader = None;
        self.retry_at = Some(now + RETRY_PAUSE);
    }

    /// No broker knows it.
    fn miss(&mut self, index: usize, now: Instant, failures: &mut Vec<(usize, Failure)>) {
        let since = *self.unknown_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= UNKNOWN_AFTER {
            self.open = false;
            failures.push((index, Failure::Gone));
        }
    }
}

impl Part {
    fn failed(slot: usize, failure: Failure, next: i64) -> Self {
        Self { slot, failure: Some(failure), next, at_end: false, aborted: Vec::new(), records: 0..0 }
    }
}

/// Whether it is of no use to try again, or this client cannot make sense of the brokers.
fn is_futile(error: &io::Error) -> bool {
    hopeless(error) || matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
}
