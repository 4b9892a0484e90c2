//! Transactions of an exactly-once sink: the `Pool` of one writer, and what recovery does with those of a run that
//! died.
//!
//! A writer has one open transaction. A barrier *prepares* it (all its records are with the brokers, nothing is
//! visible yet) and the rows behind the barrier go to the next transaction, under another transactional id, since a
//! producer cannot begin a second one before the first is ended. When the checkpoint is complete the prepared one is
//! committed and its id is free again. What identifies a prepared transaction (id, producer id, epoch and the
//! coordinator's time of its begin) is in the checkpoint, so that another process can commit it: librdkafka cannot,
//! `Wire` can.

use super::client::{meaning_of, unreachable};
use super::options::KafkaOptions;
use super::producer::Outlet;
use super::wire::{State, Transaction, Wire};
use engine::connector::{Committable, RecoverContext};
use engine::error::{Error, Result};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, PurgeConfig};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most prepared transactions of one writer, each of a checkpoint that is not complete yet. More than one is only
/// needed when checkpoints fail and are tolerated.
const MAX_PREPARED: usize = 32;

/// How long a writer that is dropped tries to take its open transaction back.
const ABORT_WAIT: Duration = Duration::from_secs(2);

/// One try of a call to the client; it is repeated until `default.api.timeout.ms` is over.
const TRY_WAIT: Duration = Duration::from_secs(5);

/// Version of `Prepared`'s text.
const VERSION: u32 = 1;

/// A prepared transaction as the checkpoint keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Prepared {
    version: u32,
    transactional_id: String,
    producer_id: i64,
    epoch: i16,
    /// Tells it from earlier and later transactions of the same id.
    start_ms: i64,
    timeout_ms: i32,
}

impl Prepared {
    fn committable(&self) -> Committable {
        // Numbers and a string always have a JSON text.
        Committable { text: serde_json::to_string(self).unwrap_or_default() }
    }

    fn parse(committable: &Committable) -> Result<Self> {
        let parsed: Option<Self> = serde_json::from_str(&committable.text).ok();
        parsed.filter(|p| p.version == VERSION).ok_or_else(|| {
            Error::internal(format!("'{}' is no prepared transaction of Kafka.", committable.text))
        })
    }
}

/// Checks at plan time what the brokers would refuse later.
///
/// Errors: settings that transactions cannot have; a transaction timeout beyond the brokers' limit. Brokers that
/// do not answer soon are not waited for: opening the sink tells.
pub(super) fn check(options: &KafkaOptions) -> Result<()> {
    let properties = &options.properties;
    let config = properties.producer();
    if config.get("enable.idempotence") == Some("false") {
        return Err(Error::user(
            "'sink.delivery-guarantee' = 'exactly-once' needs an idempotent producer, which these 'properties.*' rule out.",
        )
        .with_hint(
            "Remove 'properties.acks', 'properties.enable.idempotence', 'properties.retries' and \
             'properties.max.in.flight.requests.per.connection'.",
        ));
    }
    let mut wire = Wire::new(properties)?;
    match wire.longest_timeout_ms() {
        Some(limit) if properties.transaction_timeout_ms() > limit => {
            Err(timeout_too_long(Some(properties.transaction_timeout_ms()), Some(limit)))
        }
        _ => Ok(()),
    }
}

/// The error for a transaction timeout beyond the brokers' limit.
pub(super) fn timeout_too_long(ms: Option<i64>, limit: Option<i64>) -> Error {
    let show = |ms: Option<i64>| ms.map_or_else(String::new, |ms| format!(" ({ms} ms)"));
    Error::user(format!(
        "The transaction timeout{} is larger than the maximum value allowed by the broker{}, its \
         transaction.max.timeout.ms. Unless it is set the timeout is an hour, as in Flink.",
        show(ms),
        show(limit)
    ))
    .with_hint(format!(
        "Add 'properties.transaction.timeout.ms' = '{}': longer than the time between checkpoints and the longest \
         time for which the job may be down, since what a transaction holds is lost when it expires.",
        limit.unwrap_or(900_000)
    ))
}

/// Whether `id` is one that a writer with this beginning makes: `<stem>-<task>-<number>`.
fn is_of(id: &str, stem: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let rest = id.strip_prefix(stem).and_then(|rest| rest.strip_prefix('-'));
    rest.and_then(|rest| rest.split_once('-')).is_some_and(|(task, n)| digits(task) && digits(n))
}

fn stem(prefix: &str, operator_id: &str) -> String {
    format!("{prefix}-{operator_id}")
}

/// Commits what was prepared for the checkpoint that is restored, then takes back everything else that earlier runs
/// left open and shuts those runs out, so that neither they nor their transactions disturb anybody. May be repeated.
pub(super) fn recover(
    options: &KafkaOptions,
    context: &RecoverContext,
    prepared: &[Committable],
) -> Result<()> {
    let mut stems = BTreeSet::new();
    if !options.id_prefix.is_empty() {
        stems.insert(stem(&options.id_prefix, &context.operator_id));
    }
    if stems.is_empty() && prepared.is_empty() {
        return Ok(());
    }
    let mut wire = Wire::new(&options.properties)?;
    for committable in prepared {
        let prepared = Prepared::parse(committable)?;
        engine::failpoint::hit("kafka.recover-commit")?;
        finish(&mut wire, options, &prepared)?;
        // Prefix or operator may have had other names then.
        if let Some((task, _)) = prepared.transactional_id.rsplit_once('-')
            && let Some((stem, _)) = task.rsplit_once('-')
        {
            stems.insert(stem.to_string());
        }
    }
    engine::failpoint::hit("kafka.recover-abort")?;
    let timeout_ms = i32::try_from(options.properties.transaction_timeout_ms()).unwrap_or(i32::MAX);
    for id in wire.list(|id| stems.iter().any(|stem| is_of(id, stem)))? {
        wire.fence(&id, timeout_ms)?;
    }
    engine::failpoint::hit("kafka.recovered")
}

/// Commits a prepared transaction unless that was done before.
///
/// Errors: it expired, so that its records are lost.
fn finish(wire: &mut Wire, options: &KafkaOptions, prepared: &Prepared) -> Result<()> {
    let id = &prepared.transactional_id;
    let lost = |now: Option<Transaction>| -> Result<()> {
        if options.ignore_expired {
            return Ok(());
        }
        Err(expired(prepared, now))
    };
    // Twice at most: an ongoing transaction that cannot be committed has just ended another way.
    for _ in 0..2 {
        match wire.describe(id)? {
            None => return lost(None),
            // Begun later, or never since: the id was free again, which it is only once this one was committed.
            Some(now) if now.start_ms != prepared.start_ms => return Ok(()),
            // Registered anew since, which recovery and writers only do once it was committed.
            Some(Transaction { state: State::Committed | State::Empty, .. }) => return Ok(()),
            Some(now @ Transaction { state: State::Aborted, .. }) => return lost(Some(now)),
            Some(Transaction { state: State::Ongoing, .. }) => {
                if wire.end(id, prepared.producer_id, prepared.epoch, true)? {
                    return Ok(());
                }
            }
        }
    }
    Err(Error::external(format!(
        "The prepared Kafka transaction '{id}' cannot be committed: another client uses it."
    ))
    .with_hint("Give every job its own 'sink.transactional-id-prefix'."))
}

fn expired(prepared: &Prepared, now: Option<Transaction>) -> Error {
    let why = match now {
        Some(_) => format!(
            "it was not committed within its timeout of {} ms, and the brokers aborted it",
            prepared.timeout_ms
        ),
        None => "the brokers do not know it any more".to_string(),
    };
    Error::external(format!(
        "Records are lost: the Kafka transaction '{}' of the restored checkpoint cannot be committed, since {why}.",
        prepared.transactional_id
    ))
    .with_hint(
        "To go on without its records set 'sink.ignore-expired-transactions' = 'true' in the table; to have them, start \
         from an older checkpoint or from the beginning. A longer 'properties.transaction.timeout.ms' (at most the \
         broker's transaction.max.timeout.ms) survives longer outages.",
    )
    .permanent()
}

/// A producer with a transactional id of its own.
struct Member {
    id: String,
    outlet: Outlet,
    producer_id: i64,
    epoch: i16,
}

/// The transactions of one writer.
pub(super) struct Pool {
    options: Arc<KafkaOptions>,
    wire: Wire,
    /// `<prefix>-<operator>-<task>`.
    stem: String,
    current: Member,
    /// When the first row went into the open transaction; `None`: it has none.
    begun: Option<Instant>,
    /// By checkpoint, oldest first.
    prepared: VecDeque<(u64, Member, Committable)>,
    free: Vec<Member>,
    /// Number of the next member to be made.
    next: usize,
}

impl Pool {
    /// Registers the first transactional id, which shuts out an earlier writer that used it.
    pub(super) fn open(options: Arc<KafkaOptions>, operator_id: &str, task: usize) -> Result<Self> {
        let mut wire = Wire::new(&options.properties)?;
        let stem = format!("{}-{task}", stem(&options.id_prefix, operator_id));
        let current = Member::new(&options, &mut wire, format!("{stem}-0"))?;
        let (prepared, free) = (VecDeque::new(), Vec::new());
        Ok(Self { options, wire, stem, current, begun: None, prepared, free, next: 1 })
    }

    /// Where records of the open transaction go.
    pub(super) fn outlet(&self) -> &Outlet {
        &self.current.outlet
    }

    /// Rows will come: begins the transaction unless it is begun.
    pub(super) fn begin(&mut self) -> Result<()> {
        if self.begun.is_none() {
            self.current.outlet.client().begin_transaction().map_err(|e| self.failed("begun", &e))?;
            self.begun = Some(Instant::now());
        }
        Ok(())
    }

    /// Waits for the records of the open transaction, and lets the rows that follow go to another one.
    ///
    /// Gives all that is prepared and not yet committed.
    pub(super) fn prepare(&mut self, checkpoint_id: u64) -> Result<Vec<Committable>> {
        if self.begun.is_some() {
            if self.prepared.len() >= MAX_PREPARED {
                return Err(Error::external(format!(
                    "{MAX_PREPARED} Kafka transactions wait for their checkpoints, none of which was completed."
                ))
                .with_hint("See why checkpoints fail."));
            }
            if let Err(error) = self.current.outlet.wait() {
                return Err(self.explain(error));
            }
            let now = self.wire.describe(&self.current.id)?;
            let ours = |t: &Transaction| {
                t.state == State::Ongoing
                    && (t.producer_id, t.epoch) == (self.current.producer_id, self.current.epoch)
            };
            let Some(now) = now.filter(ours) else {
                return Err(self.explain(Error::external("The open Kafka transaction is gone.")));
            };
            let committable = Prepared {
                version: VERSION,
                transactional_id: self.current.id.clone(),
                producer_id: now.producer_id,
                epoch: now.epoch,
                start_ms: now.start_ms,
                timeout_ms: now.timeout_ms,
            }
            .committable();
            engine::failpoint::hit("kafka.prepared")?;
            let next = match self.free.pop() {
                Some(member) => member,
                None => {
                    let id = format!("{}-{}", self.stem, self.next);
                    let member = Member::new(&self.options, &mut self.wire, id)?;
                    self.next += 1;
                    member
                }
            };
            let member = std::mem::replace(&mut self.current, next);
            self.begun = None;
            self.prepared.push_back((checkpoint_id, member, committable));
        }
        Ok(self.prepared.iter().map(|(_, _, committable)| committable.clone()).collect())
    }

    /// Commits what was prepared for `checkpoint_id` and before.
    pub(super) fn commit(&mut self, checkpoint_id: u64) -> Result<()> {
        while self.prepared.front().is_some_and(|(id, _, _)| *id <= checkpoint_id) {
            engine::failpoint::hit("kafka.commit")?;
            let Some((_, member, _)) = self.prepared.front() else { break };
            self.end(member)?;
            if let Some((_, member, _)) = self.prepared.pop_front() {
                self.free.push(member);
            }
        }
        Ok(())
    }

    /// Commits all that is left.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.commit(u64::MAX)?;
        if self.begun.is_some() {
            if let Err(error) = self.current.outlet.wait() {
                return Err(self.explain(error));
            }
            self.end(&self.current)?;
            self.begun = None;
        }
        Ok(())
    }

    fn end(&self, member: &Member) -> Result<()> {
        repeat(&self.options, &member.outlet, || member.outlet.client().commit_transaction(TRY_WAIT))
            .map_err(|e| self.failed("committed", &e))
    }

    fn failed(&self, what: &str, error: &KafkaError) -> Error {
        failed(&self.options, &self.current.outlet, what, error)
    }

    /// The reason behind an error of the open transaction, if the coordinator knows one.
    fn explain(&mut self, error: Error) -> Error {
        let timeout = self.options.properties.transaction_timeout_ms();
        let id = self.current.id.clone();
        let late =
            self.begun.is_some_and(|b| i64::try_from(b.elapsed().as_millis()).unwrap_or(i64::MAX) >= timeout);
        match self.wire.describe(&id) {
            Ok(Some(now)) if now.state == State::Ongoing && now.epoch == self.current.epoch => error,
            Ok(_) if late => Error::external(format!(
                "The Kafka transaction '{id}' was open for longer than its timeout of {timeout} ms, and the brokers \
                 aborted it."
            ))
            .with_hint(
                "Take checkpoints more often ('execution.checkpointing.interval'), or raise \
                 'properties.transaction.timeout.ms'.",
            ),
            Ok(Some(now)) if (now.producer_id, now.epoch) != (self.current.producer_id, self.current.epoch) => fenced(),
            _ => error,
        }
    }
}

impl Drop for Pool {
    /// Rows that no checkpoint has are taken back, so that they do not hold back readers until the transaction
    /// expires. What is prepared stays: its checkpoint may be complete.
    fn drop(&mut self) {
        if self.begun.is_some() {
            let client = self.current.outlet.client();
            client.purge(PurgeConfig::default().queue().inflight());
            // Nobody is left to hear that it did not work; recovery or the timeout takes the transaction back.
            let _ = client.flush(ABORT_WAIT);
            let _ = client.abort_transaction(ABORT_WAIT);
        }
    }
}

impl Member {
    fn new(options: &Arc<KafkaOptions>, wire: &mut Wire, id: String) -> Result<Self> {
        let outlet = Outlet::new(options.clone(), &options.properties.transactional(&id))?;
        repeat(options, &outlet, || outlet.client().init_transactions(TRY_WAIT))
            .map_err(|e| failed(options, &outlet, "registered", &e))?;
        let Some(now) = wire.describe(&id)? else {
            return Err(Error::external(format!(
                "Kafka does not know the transactional id '{id}' that it gave."
            )));
        };
        Ok(Self { id, outlet, producer_id: now.producer_id, epoch: now.epoch })
    }
}

/// Calls until it works, the error is no passing one, or the time is over.
fn repeat(
    options: &KafkaOptions,
    outlet: &Outlet,
    mut call: impl FnMut() -> std::result::Result<(), KafkaError>,
) -> std::result::Result<(), KafkaError> {
    let begin = Instant::now();
    loop {
        let error = match call() {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let passing = match &error {
            KafkaError::Transaction(error) => error.is_retriable(),
            KafkaError::Flush(code) => *code == RDKafkaErrorCode::OperationTimedOut,
            _ => false,
        };
        // Serves the complaints that say why.
        outlet.poll();
        if !passing || outlet.trouble().hopeless || begin.elapsed() >= options.properties.api_timeout() {
            return Err(error);
        }
    }
}

fn fenced() -> Error {
    Error::external(
        "Another writer has taken over the transactional ids of this Kafka sink: the job runs twice, or two jobs have \
         the same 'sink.transactional-id-prefix'.",
    )
    .with_hint("Give every job its own 'sink.transactional-id-prefix'.")
}

fn failed(options: &KafkaOptions, outlet: &Outlet, what: &str, error: &KafkaError) -> Error {
    use RDKafkaErrorCode as C;
    let code = error.rdkafka_error_code();
    match code {
        Some(C::InvalidTransactionTimeout) => {
            return timeout_too_long(Some(options.properties.transaction_timeout_ms()), None);
        }
        Some(C::ProducerFenced | C::Fenced | C::InvalidProducerEpoch) => return fenced(),
        Some(C::TransactionalIdAuthorizationFailed | C::ClusterAuthorizationFailed) => {
            return Error::user("Kafka refuses: this user may not use the transactional ids of this sink.").with_hint(
                "The user needs Describe and Write on transactional ids that begin with 'sink.transactional-id-prefix'.",
            );
        }
        Some(C::OperationTimedOut) => {
            let (brokers, waited) = (options.properties.brokers(), options.properties.api_timeout());
            return unreachable(brokers, waited, &outlet.trouble(), error);
        }
        _ => {}
    }
    let text = match error {
        KafkaError::Transaction(error) => error.string(),
        other => meaning_of(other),
    };
    Error::external(format!("A Kafka transaction could not be {what}: {}.", text.trim_end_matches('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_belong_to_one_sink_only() {
        let stem = stem("job", "ab12");
        assert!(is_of("job-ab12-0-0", &stem) && is_of("job-ab12-17-3", &stem));
        for other in
            ["job-ab12-0", "job-ab12-1-0-0", "job-ab123-0-0", "job-ab12-x-0", "job-ab12--", "job-ab12-0-"]
        {
            assert!(!is_of(other, &stem), "{other}");
        }
    }

    #[test]
    fn what_a_checkpoint_keeps_is_read_again() {
        let prepared = Prepared {
            version: VERSION,
            transactional_id: "p-op-0-1".into(),
            producer_id: 7,
            epoch: 3,
            start_ms: 1_700_000_000_000,
            timeout_ms: 900_000,
        };
        assert_eq!(Prepared::parse(&prepared.committable()), Ok(prepared));
        assert!(Prepared::parse(&Committable { text: "{\"version\":9}".into() }).is_err());
    }
}
