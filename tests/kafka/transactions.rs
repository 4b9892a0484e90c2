//! The exactly-once sink against a real broker: what is visible when, what a killed process leaves behind, and what
//! recovery makes of it.

use crate::support::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use engine::connector::{Committable, Metrics, RecoverContext, Sink, Writer, WriterContext};
use engine::error::Result;
use engine::message::ChangeBatch;
use engine::time::SystemClock;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

const OPERATOR: &str = "0a1b";

fn exactly_once(topic: &str, prefix: &str) -> Table {
    Table::new(topic)
        .with("sink.delivery-guarantee", "exactly-once")
        .with("sink.transactional-id-prefix", prefix)
        .with("properties.transaction.timeout.ms", "600000")
}

fn committed(topic: &str) -> Vec<String> {
    let table = Table::new(topic).with("properties.isolation.level", "read_committed");
    sorted(table.rows().unwrap())
}

fn batch(schema: &SchemaRef, numbers: &[i64]) -> ChangeBatch {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.iter().map(|n| format!("x{n}"))));
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(numbers.to_vec())), texts];
    ChangeBatch::inserts(RecordBatch::try_new(schema.clone(), columns).unwrap())
}

fn lines(numbers: &[i64]) -> Vec<String> {
    sorted(numbers.iter().map(|n| format!("{n}|x{n}")).collect())
}

fn open(sink: &Arc<dyn Sink>, schema: &SchemaRef, task: usize) -> Result<Box<dyn Writer>> {
    sink.writer(WriterContext {
        schema: schema.clone(),
        runtime: RUNTIME.handle().clone(),
        clock: Arc::new(SystemClock),
        task,
        parallelism: 4,
        operator_id: OPERATOR.into(),
        checkpointing: true,
        restored_from: None,
        metrics: Arc::new(Metrics::default()),
    })
}

fn recover(sink: &Arc<dyn Sink>, prepared: &[Committable]) -> Result<()> {
    let context = RecoverContext {
        runtime: RUNTIME.handle().clone(),
        operator_id: OPERATOR.into(),
        parallelism: 1,
        checkpoint_id: (!prepared.is_empty()).then_some(1),
    };
    sink.recover(&context, prepared)
}

#[test]
fn rows_show_when_their_checkpoint_is_complete() {
    let topic = topic("txn", 2);
    let (sink, schema) = exactly_once(&topic, &topic).sink().unwrap();
    let mut writer = open(&sink, &schema, 0).unwrap();
    assert!(writer.prepare_commit(1).unwrap().is_empty(), "nothing was written");
    writer.commit(1).unwrap();
    writer.write(batch(&schema, &[1, 2])).unwrap();
    assert_eq!(writer.prepare_commit(2).unwrap().len(), 1);
    writer.write(batch(&schema, &[3])).unwrap();
    // Checkpoint 2 fails; the next one has both.
    let prepared = writer.prepare_commit(3).unwrap();
    assert_eq!(prepared.len(), 2);
    writer.write(batch(&schema, &[4])).unwrap();
    let uncommitted = sorted(Table::new(&topic).rows().unwrap());
    assert!(uncommitted.contains(&"1|x1".to_string()), "{uncommitted:?}");
    writer.commit(3).unwrap();
    // The open transaction hides what is behind it, so it ends first.
    assert_eq!(writer.prepare_commit(4).unwrap().len(), 1);
    writer.commit(4).unwrap();
    assert_eq!(committed(&topic), lines(&[1, 2, 3, 4]));
    // Ids are used again.
    for checkpoint in 5..12 {
        writer.write(batch(&schema, &[checkpoint])).unwrap();
        let prepared = writer.prepare_commit(checkpoint as u64).unwrap();
        assert_eq!(prepared.len(), 1);
        let number = prepared[0].text.split("-0-").last().unwrap().chars().next().unwrap();
        assert!(('0'..='2').contains(&number), "{}", prepared[0].text);
        writer.commit(checkpoint as u64).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(committed(&topic), lines(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
}

#[test]
fn without_checkpoints_the_end_publishes() {
    let topic = topic("txn-end", 1);
    let (sink, schema) = exactly_once(&topic, &topic).sink().unwrap();
    let mut writer = open(&sink, &schema, 0).unwrap();
    writer.write(batch(&schema, &[1])).unwrap();
    writer.flush().unwrap();
    writer.finish().unwrap();
    assert_eq!(committed(&topic), lines(&[1]));
}

#[test]
fn a_writer_that_fails_takes_its_open_rows_back() {
    let topic = topic("txn-drop", 1);
    let (sink, schema) = exactly_once(&topic, &topic).sink().unwrap();
    let mut writer = open(&sink, &schema, 0).unwrap();
    writer.write(batch(&schema, &[1])).unwrap();
    writer.prepare_commit(1).unwrap();
    writer.commit(1).unwrap();
    writer.write(batch(&schema, &[2])).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    drop(writer);
    assert_eq!(committed(&topic), lines(&[1]));
}

/// What the killed process does: writes, prepares, writes on, tells what it prepared, waits for its death.
#[test]
fn victim() {
    let Ok(told) = std::env::var("RUNNEL_TEST_VICTIM") else { return };
    let env = |name: &str| std::env::var(name).unwrap();
    let (topic, tasks) = (env("RUNNEL_TEST_TOPIC"), env("RUNNEL_TEST_TASKS").parse::<usize>().unwrap());
    let mut table = exactly_once(&topic, &topic);
    if let Ok(timeout) = std::env::var("RUNNEL_TEST_TIMEOUT") {
        table = table.with("properties.transaction.timeout.ms", &timeout);
    }
    let (sink, schema) = table.sink().unwrap();
    let (mut writers, mut prepared) = (Vec::new(), Vec::new());
    for task in 0..tasks {
        let mut writer = open(&sink, &schema, task).unwrap();
        let first = 10 * task as i64;
        writer.write(batch(&schema, &[first, first + 1])).unwrap();
        prepared.extend(writer.prepare_commit(1).unwrap());
        writer.write(batch(&schema, &[first + 2])).unwrap();
        // The second transaction is open at the broker, too.
        prepared.extend(
            writer
                .prepare_commit(2)
                .unwrap()
                .into_iter()
                .skip(1)
                .map(|c| Committable { text: format!("later {}", c.text) }),
        );
        writer.write(batch(&schema, &[first + 3])).unwrap();
        writers.push(writer);
    }
    std::thread::sleep(Duration::from_millis(300));
    let text = prepared.iter().map(|c| c.text.clone() + "\n").collect::<String>();
    std::fs::write(format!("{told}.tmp"), text).unwrap();
    std::fs::rename(format!("{told}.tmp"), &told).unwrap();
    std::thread::sleep(PATIENCE);
    drop(writers);
}

/// Runs `victim` in a process of its own until it has prepared, and kills it. Gives what it prepared for its first
/// checkpoint.
fn kill_a_writer(topic: &str, tasks: usize, timeout: Option<&str>) -> Vec<Committable> {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("prepared");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "transactions::victim", "--nocapture"]);
    command.env("RUNNEL_TEST_VICTIM", &told).env("RUNNEL_TEST_TOPIC", topic);
    command.env("RUNNEL_TEST_TASKS", tasks.to_string());
    if let Some(timeout) = timeout {
        command.env("RUNNEL_TEST_TIMEOUT", timeout);
    }
    let mut child = command.spawn().unwrap();
    wait_for(&told, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let text = std::fs::read_to_string(&told).unwrap();
    let first = text.lines().filter(|l| !l.starts_with("later"));
    first.map(|l| Committable { text: l.to_string() }).collect()
}

fn wait_for(path: &Path, child: &mut Child) {
    let end = Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(Instant::now() < end, "the victim has not prepared");
        assert!(child.try_wait().unwrap().is_none(), "the victim ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_commit_interrupted_by_kill_is_finished_once() {
    let topic = topic("txn-kill", 1);
    let prepared = kill_a_writer(&topic, 1, None);
    assert_eq!(prepared.len(), 1);
    let (sink, schema) = exactly_once(&topic, &topic).sink().unwrap();
    recover(&sink, &prepared).unwrap();
    // What came after the checkpoint is gone and holds nobody back.
    assert_eq!(committed(&topic), lines(&[0, 1]));
    // Killed during recovery: it is done again, also when the id was used in the meantime.
    recover(&sink, &prepared).unwrap();
    let mut writer = open(&sink, &schema, 0).unwrap();
    writer.write(batch(&schema, &[7])).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    recover(&sink, &prepared).unwrap();
    let error = text(&writer.prepare_commit(3).unwrap_err());
    assert!(error.contains("taken over"), "{error}");
    drop(writer);
    let mut writer = open(&sink, &schema, 0).unwrap();
    writer.write(batch(&schema, &[8])).unwrap();
    writer.prepare_commit(4).unwrap();
    writer.commit(4).unwrap();
    assert_eq!(committed(&topic), lines(&[0, 1, 8]));
}

#[test]
fn a_fresh_start_takes_back_what_all_tasks_of_an_earlier_run_left() {
    let topic = topic("txn-rescaled", 2);
    let prepared = kill_a_writer(&topic, 4, None);
    assert_eq!(prepared.len(), 4);
    let (sink, _) = exactly_once(&topic, &topic).sink().unwrap();
    recover(&sink, &[]).unwrap();
    assert!(committed(&topic).is_empty());
}

#[test]
fn a_restore_at_another_parallelism_commits_all_tasks() {
    let topic = topic("txn-scaled", 2);
    let prepared = kill_a_writer(&topic, 3, None);
    let (sink, _) = exactly_once(&topic, &topic).sink().unwrap();
    recover(&sink, &prepared).unwrap();
    assert_eq!(committed(&topic), lines(&[0, 1, 10, 11, 20, 21]));
}

#[test]
fn an_expired_transaction_is_told_and_can_be_passed_over() {
    let topic = topic("txn-expired", 1);
    let prepared = kill_a_writer(&topic, 1, Some("2000"));
    let table = exactly_once(&topic, &topic);
    let (sink, _) = table.sink().unwrap();
    // The coordinator looks for expired transactions once a second.
    std::thread::sleep(Duration::from_millis(5000));
    let error = text(&recover(&sink, &prepared).unwrap_err());
    assert!(error.contains("Records are lost") && error.contains("2000 ms"), "{error}");
    assert!(error.contains("sink.ignore-expired-transactions"), "{error}");
    let (sink, _) = table.with("sink.ignore-expired-transactions", "true").sink().unwrap();
    recover(&sink, &prepared).unwrap();
    assert!(committed(&topic).is_empty());
}

#[test]
fn a_zombie_is_shut_out() {
    let topic = topic("txn-zombie", 1);
    let (sink, schema) = exactly_once(&topic, &topic).sink().unwrap();
    let mut zombie = open(&sink, &schema, 0).unwrap();
    zombie.write(batch(&schema, &[1])).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let mut writer = open(&sink, &schema, 0).unwrap();
    let error = text(&zombie.prepare_commit(1).unwrap_err());
    assert!(error.contains("sink.transactional-id-prefix"), "{error}");
    writer.write(batch(&schema, &[2])).unwrap();
    writer.prepare_commit(1).unwrap();
    writer.commit(1).unwrap();
    drop(zombie);
    assert_eq!(committed(&topic), lines(&[2]));
}

#[test]
fn a_transaction_that_was_open_too_long_is_told() {
    let topic = topic("txn-long", 1);
    let table = exactly_once(&topic, &topic).with("properties.transaction.timeout.ms", "1000");
    let (sink, schema) = table.sink().unwrap();
    let mut writer = open(&sink, &schema, 0).unwrap();
    writer.write(batch(&schema, &[1])).unwrap();
    std::thread::sleep(Duration::from_millis(3500));
    let error = text(&writer.prepare_commit(1).unwrap_err());
    assert!(error.contains("open for longer than its timeout of 1000 ms"), "{error}");
    assert!(error.contains("execution.checkpointing.interval"), "{error}");
}

#[test]
fn settings_are_checked_when_the_statement_is_planned() {
    let topic = topic("txn-plan", 1);
    let error = |table: Table| text(&table.sink().unwrap_err());
    let hour = error(exactly_once(&topic, "p").without("properties.transaction.timeout.ms"));
    assert!(hour.contains("(3600000 ms)") && hour.contains("(900000 ms)"), "{hour}");
    assert!(hour.contains("'properties.transaction.timeout.ms' = '900000'"), "{hour}");
    let prefix = error(exactly_once(&topic, "p").without("sink.transactional-id-prefix"));
    assert!(
        prefix.contains(
            "sink.transactional-id-prefix must be specified when using DeliveryGuarantee.EXACTLY_ONCE."
        ),
        "{prefix}"
    );
    let acks = error(exactly_once(&topic, "p").with("properties.acks", "1"));
    assert!(acks.contains("idempotent"), "{acks}");
    let id = error(exactly_once(&topic, "p").with("properties.transactional.id", "x"));
    assert!(id.contains("sink.transactional-id-prefix"), "{id}");
    // Nobody answers: planning does not wait for it.
    let begin = Instant::now();
    exactly_once(&topic, "p").with("properties.bootstrap.servers", "127.0.0.1:1").sink().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn transactions_work_over_sasl() {
    let topic = topic("txn-sasl", 1);
    let table = exactly_once(&topic, &topic)
        .with("properties.bootstrap.servers", &sasl_brokers())
        .with("properties.security.protocol", "SASL_PLAINTEXT")
        .with("properties.sasl.mechanism", "PLAIN")
        .with("properties.sasl.username", "runnel")
        .with("properties.sasl.password", "runnel-secret");
    let prepared = kill_a_writer(&topic, 1, None);
    let (sink, schema) = table.sink().unwrap();
    recover(&sink, &prepared).unwrap();
    let mut writer = open(&sink, &schema, 0).unwrap();
    writer.write(batch(&schema, &[5])).unwrap();
    writer.prepare_commit(1).unwrap();
    writer.commit(1).unwrap();
    assert_eq!(committed(&topic), lines(&[0, 1, 5]));
    let (sink, schema) = table.with("properties.sasl.password", "wrong").sink().unwrap();
    let error = text(&recover(&sink, &prepared).unwrap_err());
    assert!(error.contains("does not let this client in") && !error.contains("wrong"), "{error}");
    assert!(open(&sink, &schema, 0).is_err());
}

#[test]
fn transactions_work_over_tls_with_scram() {
    // `make test` sets it; the broker of `make services` has the certificate beside its data.
    let Ok(authority) = std::env::var("RUNNEL_KAFKA_TLS_CA") else {
        println!("only with RUNNEL_KAFKA_TLS_CA, the broker's authority as PEM");
        return;
    };
    let (host, port) = sasl_brokers().rsplit_once(':').map(|(h, p)| (h.to_string(), p.to_string())).unwrap();
    let tls = format!("{host}:{}", port.parse::<u16>().unwrap() + 1);
    let topic = topic("txn-tls", 1);
    let table = exactly_once(&topic, &topic)
        .with("properties.bootstrap.servers", &tls)
        .with("properties.security.protocol", "SASL_SSL")
        .with("properties.sasl.mechanism", "SCRAM-SHA-512")
        .with("properties.sasl.username", "runnel")
        .with("properties.sasl.password", "runnel-secret")
        .with("properties.ssl.ca.location", &authority);
    let prepared = kill_a_writer(&topic, 1, None);
    let (sink, schema) = table.sink().unwrap();
    recover(&sink, &prepared).unwrap();
    let mut writer = open(&sink, &schema, 0).unwrap();
    writer.write(batch(&schema, &[5])).unwrap();
    writer.prepare_commit(1).unwrap();
    writer.commit(1).unwrap();
    assert_eq!(committed(&topic), lines(&[0, 1, 5]));
    // The broker's authority is not among the system's.
    let (sink, _) = table
        .without("properties.ssl.ca.location")
        .with("properties.default.api.timeout.ms", "2000")
        .sink()
        .unwrap();
    let error = text(&recover(&sink, &prepared).unwrap_err());
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn a_bounded_job_publishes_all_at_its_end_with_and_without_checkpoints() {
    for interval in ["0", "200 ms"] {
        let topic = topic("txn-bounded", 1);
        let folder = tempfile::tempdir().unwrap();
        let sql = format!(
            "SET 'execution.checkpointing.interval' = '{interval}';
             SET 'state.checkpoints.dir' = 'file://{}';
             CREATE TABLE numbers (a BIGINT, b STRING) WITH ('connector' = 'datagen', 'number-of-rows' = '3',
                'rows-per-second' = '4', 'fields.a.kind' = 'sequence', 'fields.a.start' = '1', 'fields.a.end' = '3',
                'fields.b.length' = '1');
             CREATE TABLE t (a BIGINT, b STRING) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'format' = 'json',
                'properties.bootstrap.servers' = '{}', 'sink.delivery-guarantee' = 'exactly-once',
                'sink.transactional-id-prefix' = '{topic}', 'properties.transaction.timeout.ms' = '600000');
             INSERT INTO t SELECT a, 'x' || CAST(a AS STRING) FROM numbers;",
            folder.path().display(),
            brokers()
        );
        let answers = tests::Runner::new().run(&sql);
        assert!(answers.is_empty(), "{answers:?}");
        // The coordinator answers a commit before the partition shows it.
        let begin = Instant::now();
        while committed(&topic).is_empty() && begin.elapsed() < PATIENCE {}
        assert_eq!(committed(&topic), lines(&[1, 2, 3]), "checkpoints every {interval}");
    }
}
