//! `properties.*`: the Java client's keys that Flink users write, as librdkafka's. Keys that mean nothing outside
//! the JVM are dropped, those that would change what happens are refused with the way out.

use super::wire::Security;
use catalog::Options;
use engine::error::{Error, Result, nearest};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How long one question to the cluster (metadata, offsets) may take, unless `default.api.timeout.ms` says
/// otherwise. Java waits 60 s, which is long for a person at a prompt.
const API_TIMEOUT_MS: u64 = 15_000;

/// `client.id` of connections besides librdkafka's, unless it is given.
const CLIENT_ID: &str = "runnel";

/// Most kilobytes that a reader fetches ahead, unless `queued.max.messages.kbytes` says otherwise.
const PREFETCH_KBYTES: &str = "32768";

/// Most kilobytes that a writer holds before `write` waits, unless `buffer.memory` says otherwise.
const SEND_BUFFER_KBYTES: &str = "65536";

/// Largest response that a reader takes, in bytes: a fetch holds at least one record, however large it is.
const RESPONSE_BYTES: &str = "536870912";

/// Pause of a full reader before it fetches on, in milliseconds; librdkafka's second stalls bursts.
const FETCH_BACKOFF_MS: &str = "10";

/// How long a record may wait for its acknowledgement, as in Java.
const DELIVERY_TIMEOUT_MS: &str = "120000";

/// After how long the coordinator takes back a transaction that is not ended, as Flink sets it.
const TRANSACTION_TIMEOUT_MS: i64 = 3_600_000;

/// Settings of a JVM client without a meaning here.
const IGNORED: &[&str] = &[
    "auto.commit.interval.ms",
    "auto.include.jmx.reporter",
    "client.dns.lookup",
    "enable.auto.commit",
    "enable.metrics.push",
    "exclude.internal.topics",
    "group.remote.assignor",
    "interceptor.classes",
    "key.deserializer",
    "key.serializer",
    "max.block.ms",
    "max.poll.records",
    "metadata.max.idle.ms",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "partition.assignment.strategy",
    "partition.discovery.interval.ms",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "register.consumer.metrics",
    "sasl.login.class",
    "security.providers",
    "ssl.enabled.protocols",
    "ssl.keymanager.algorithm",
    "ssl.protocol",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "throw.on.fetch.stable.offset.unsupported",
    "value.deserializer",
    "value.serializer",
];

/// Java's name and librdkafka's.
const RENAMED: &[(&str, &str)] = &[
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.request.size", "message.max.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("socket.connection.setup.timeout.max.ms", "socket.connection.setup.timeout.ms"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
];

/// Client settings, translated and checked. `Debug` shows no values.
#[derive(Clone)]
pub(super) struct Properties {
    native: BTreeMap<String, String>,
    brokers: String,
    group: String,
    reset: Option<String>,
    commit: bool,
    api_timeout: Duration,
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Properties").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Properties {
    /// Reads the keys of `properties.*`, given without that prefix.
    ///
    /// Errors: keys and values that the client does not know or that only a JVM can serve.
    pub(super) fn new(given: &Options, default_group: &str) -> Result<Self> {
        let mut native = BTreeMap::new();
        let mut properties = Self {
            brokers: String::new(),
            group: default_group.to_string(),
            reset: None,
            commit: true,
            api_timeout: Duration::from_millis(API_TIMEOUT_MS),
            native: BTreeMap::new(),
        };
        for (key, value) in given {
            let value = value.trim();
            if value.contains("${") || key.starts_with("config.providers") {
                return Err(Error::unsupported(
                    format!("A config provider in 'properties.{key}'"),
                    "Write the value itself; secrets can come from a variable of the shell that runs the script.",
                ));
            }
            match key.as_str() {
                "bootstrap.servers" => properties.brokers = value.to_string(),
                "group.id" => properties.group = value.to_string(),
                "auto.offset.reset" => properties.reset = Some(value.to_ascii_lowercase()),
                "commit.offsets.on.checkpoint" => properties.commit = !value.eq_ignore_ascii_case("false"),
                "default.api.timeout.ms" => {
                    let ms = value.parse().map_err(|_| number(key))?;
                    properties.api_timeout = Duration::from_millis(ms);
                }
                "request.timeout.ms" => {
                    let ms: u64 = value.parse().map_err(|_| number(key))?;
                    native.insert("request.timeout.ms".to_string(), ms.to_string());
                    native.insert("socket.timeout.ms".to_string(), ms.clamp(10, 300_000).to_string());
                }
                "buffer.memory" => {
                    let bytes: u64 = value.parse().map_err(|_| number(key))?;
                    native
                        .insert("queue.buffering.max.kbytes".to_string(), (bytes / 1024).max(1).to_string());
                }
                "transactional.id" => {
                    return Err(Error::user("'properties.transactional.id' is chosen by Runnel.").with_hint(
                        "Write 'sink.delivery-guarantee' = 'exactly-once' and 'sink.transactional-id-prefix'.",
                    ));
                }
                "transaction.timeout.ms" => {
                    let ms: i32 = value.parse().map_err(|_| number(key))?;
                    native.insert(key.clone(), ms.to_string());
                }
                "client.id.prefix" => {
                    native.insert("client.id".to_string(), value.to_string());
                }
                "partitioner.class" => {
                    return Err(Error::user(
                        "'properties.partitioner.class' names a Java class, which Runnel cannot load.",
                    )
                    .with_hint("Use 'sink.partitioner' = 'default', 'fixed' or 'round-robin'."));
                }
                "ssl.endpoint.identification.algorithm" if value.is_empty() => {
                    native.insert(key.clone(), "none".to_string());
                }
                _ if key.starts_with("sasl.") && sasl(key, value, given, &mut native)? => {}
                _ if key.starts_with("ssl.") && store(key, value, given, &mut native)? => {}
                _ if IGNORED.contains(&key.as_str()) || key.starts_with("flink.") => {}
                _ => {
                    let name = RENAMED.iter().find(|(java, _)| java == key).map_or(key.as_str(), |(_, n)| n);
                    native.insert(name.to_string(), value.to_string());
                }
            }
        }
        if properties.brokers.is_empty() {
            return Err(Error::user("A 'kafka' table needs the option 'properties.bootstrap.servers'.")
                .with_hint("Add 'properties.bootstrap.servers' = 'host:9092' to WITH."));
        }
        if !matches!(properties.reset.as_deref(), None | Some("earliest" | "latest" | "none")) {
            return Err(Error::user("'properties.auto.offset.reset' takes earliest, latest or none."));
        }
        properties.native = native;
        properties.check()?;
        Ok(properties)
    }

    /// `bootstrap.servers`.
    pub(super) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// `group.id`, or its default.
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// `auto.offset.reset`: `earliest`, `latest` or `none`, if given.
    pub(super) fn reset(&self) -> Option<&str> {
        self.reset.as_deref()
    }

    /// Whether offsets are committed at checkpoints.
    pub(super) fn commits(&self) -> bool {
        self.commit
    }

    /// How long one question to the cluster may take.
    pub(super) fn api_timeout(&self) -> Duration {
        self.api_timeout
    }

    /// `message.max.bytes` of a writer, for messages.
    pub(super) fn max_record_bytes(&self) -> u64 {
        self.native.get("message.max.bytes").and_then(|v| v.parse().ok()).unwrap_or(1_000_000)
    }

    /// Settings of a reader. `reset` is what to do when an offset is no longer there.
    pub(super) fn consumer(&self, reset: &str) -> ClientConfig {
        let mut config = self.base();
        let defaults = [
            ("isolation.level", "read_uncommitted"),
            ("queued.max.messages.kbytes", PREFETCH_KBYTES),
            ("receive.message.max.bytes", RESPONSE_BYTES),
            ("fetch.queue.backoff.ms", FETCH_BACKOFF_MS),
        ];
        self.fill(&mut config, &defaults);
        config.set("group.id", &self.group);
        config.set("auto.offset.reset", if reset == "none" { "error" } else { reset });
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("enable.partition.eof", "true");
        config
    }

    /// Settings of a writer.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        let is = |key: &str, test: &dyn Fn(&str) -> bool| self.native.get(key).is_some_and(|v| test(v));
        // As Java does: settings that idempotence cannot have switch it off, unless it is asked for.
        let conflict = is("acks", &|v| v != "all" && v != "-1")
            || is("request.required.acks", &|v| v != "all" && v != "-1")
            || is("max.in.flight.requests.per.connection", &|v| v.parse::<u32>().is_ok_and(|n| n > 5))
            || is("retries", &|v| v == "0");
        let defaults = [
            ("enable.idempotence", if conflict { "false" } else { "true" }),
            ("queue.buffering.max.kbytes", SEND_BUFFER_KBYTES),
            ("partitioner", "murmur2_random"),
        ];
        self.fill(&mut config, &defaults);
        if !["delivery.timeout.ms", "message.timeout.ms"].iter().any(|k| self.native.contains_key(*k)) {
            config.set("message.timeout.ms", DELIVERY_TIMEOUT_MS);
        }
        config
    }

    /// Settings of a writer of transactions under `id`.
    pub(super) fn transactional(&self, id: &str) -> ClientConfig {
        let mut config = self.producer();
        let timeout = self.transaction_timeout_ms();
        config.set("transactional.id", id);
        config.set("transaction.timeout.ms", timeout.to_string());
        // The client wants a record's time to end before its transaction's.
        for key in ["delivery.timeout.ms", "message.timeout.ms"] {
            if config.get(key).and_then(|v| v.parse::<i64>().ok()).is_some_and(|ms| ms == 0 || ms > timeout) {
                config.set(key, timeout.to_string());
            }
        }
        config
    }

    /// `transaction.timeout.ms`: Flink's hour unless it is set.
    pub(super) fn transaction_timeout_ms(&self) -> i64 {
        let given = self.native.get("transaction.timeout.ms");
        given.and_then(|v| v.parse().ok()).unwrap_or(TRANSACTION_TIMEOUT_MS)
    }

    /// `client.id`, by which brokers tell clients apart in their logs and quotas.
    pub(super) fn client_id(&self) -> &str {
        self.get("client.id").unwrap_or(CLIENT_ID)
    }

    /// A setting under librdkafka's name, if it is given.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.native.get(key).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// Names of all settings that are given, as librdkafka has them.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.native.keys().map(String::as_str)
    }

    /// How connections besides librdkafka's are made.
    ///
    /// Errors: settings that only librdkafka can serve.
    pub(super) fn security(&self) -> Result<Security> {
        Security::new(&self.native)
    }

    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (key, value) in &self.native {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config.set("log_level", "0");
        config.set_log_level(RDKafkaLogLevel::Emerg);
        config
    }

    fn fill(&self, config: &mut ClientConfig, defaults: &[(&str, &str)]) {
        for (key, value) in defaults.iter().filter(|(key, _)| !self.native.contains_key(*key)) {
            config.set(*key, *value);
        }
    }

    /// Lets the client judge each key and value, without a connection.
    fn check(&self) -> Result<()> {
        for (key, value) in &self.native {
            let mut one = ClientConfig::new();
            one.set(key, value);
            let Err(error) = one.create_native_config() else { continue };
            let reason = match error {
                KafkaError::ClientConfig(_, description, _, _) if !catalog::is_secret(key) => description,
                _ => format!("\"{key}\" has a value that it cannot have"),
            };
            let hint = nearest(key, KNOWN.iter().copied())
                .filter(|n| n != key)
                .map_or_else(String::new, |n| format!("Did you mean 'properties.{n}'?"));
            return Err(Error::user(format!("The Kafka client refuses 'properties.{key}': {reason}."))
                .with_hint(hint));
        }
        Ok(())
    }
}

/// Keys that people write, for "did you mean".
const KNOWN: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "batch.size",
    "bootstrap.servers",
    "check.crcs",
    "client.id",
    "client.rack",
    "compression.type",
    "connections.max.idle.ms",
    "default.api.timeout.ms",
    "delivery.timeout.ms",
    "enable.idempotence",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "group.id",
    "isolation.level",
    "linger.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "max.request.size",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retries",
    "retry.backoff.ms",
    "sasl.jaas.config",
    "sasl.mechanism",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
    "transaction.timeout.ms",
];

fn number(key: &str) -> Error {
    Error::user(format!("'properties.{key}' takes a number."))
}

/// SASL keys that need translation. `false`: the key is passed through.
fn sasl(key: &str, value: &str, given: &Options, native: &mut BTreeMap<String, String>) -> Result<bool> {
    let iam = || {
        Err(Error::unsupported(
            "Amazon MSK's IAM authentication (AWS_MSK_IAM)",
            "Use SASL/SCRAM ('properties.sasl.mechanism' = 'SCRAM-SHA-512' with 'properties.sasl.username' and \
             'properties.sasl.password', bootstrap port 9096), or TLS with a client certificate (port 9094).",
        ))
    };
    match key {
        "sasl.mechanism" if value == "AWS_MSK_IAM" => iam(),
        "sasl.jaas.config" if value.contains("IAMLoginModule") => iam(),
        "sasl.jaas.config" => {
            let (user, password) = jaas(value)?;
            native.insert("sasl.username".to_string(), user);
            native.insert("sasl.password".to_string(), password);
            if !given.contains_key("sasl.mechanism") && !given.contains_key("sasl.mechanisms") {
                return Err(Error::user(
                    "'properties.sasl.jaas.config' needs 'properties.sasl.mechanism' beside it.",
                )
                .with_hint("Add 'properties.sasl.mechanism' = 'PLAIN' (or SCRAM-SHA-256, SCRAM-SHA-512)."));
            }
            Ok(true)
        }
        _ if key.starts_with("sasl.client.callback") || key.starts_with("sasl.login.callback") => {
            if value.contains("msk.auth.iam") {
                return iam();
            }
            Err(Error::user(format!("'properties.{key}' names a Java class, which Runnel cannot load."))
                .with_hint("Use 'properties.sasl.username' and 'properties.sasl.password'."))
        }
        _ => Ok(false),
    }
}

/// User and password of a JAAS line: `…PlainLoginModule required username="u" password="p";`.
fn jaas(line: &str) -> Result<(String, String)> {
    let module = line.split_whitespace().next().unwrap_or("");
    if !module.ends_with("PlainLoginModule") && !module.ends_with("ScramLoginModule") {
        let name = module.rsplit('.').next().unwrap_or("");
        return Err(Error::unsupported(
            format!("The login module '{name}' in 'properties.sasl.jaas.config'"),
            "PlainLoginModule and ScramLoginModule are; Kerberos and OAuth are not.",
        ));
    }
    let field = |name: &str| {
        let start = line.find(&format!("{name}="))? + name.len() + 1;
        let mut letters = line[start..].chars();
        let quote = letters.next().filter(|c| matches!(c, '"' | '\''))?;
        let mut text = String::new();
        while let Some(c) = letters.next() {
            match c {
                '\\' => text.extend(letters.next()),
                c if c == quote => return Some(text),
                c => text.push(c),
            }
        }
        None
    };
    match (field("username"), field("password")) {
        (Some(user), Some(password)) => Ok((user, password)),
        _ => Err(Error::user("'properties.sasl.jaas.config' has no username=\"…\" and password=\"…\".")
            .with_hint("Write 'properties.sasl.username' and 'properties.sasl.password' instead.")),
    }
}

/// Trust and key stores. `false`: the key is passed through.
fn store(key: &str, value: &str, given: &Options, native: &mut BTreeMap<String, String>) -> Result<bool> {
    let kind = |key: &str| given.get(key).map(|v| v.trim().to_ascii_uppercase());
    let ends = |suffixes: &[&str]| {
        let lower = value.to_ascii_lowercase();
        suffixes.iter().any(|s| lower.ends_with(s))
    };
    match key {
        "ssl.truststore.location" => {
            if kind("ssl.truststore.type").as_deref() == Some("PEM") || ends(&[".pem", ".crt", ".cer"]) {
                native.insert("ssl.ca.location".to_string(), value.to_string());
            } else if !ends(&["/cacerts", "cacerts.jks"]) {
                return Err(Error::user(format!(
                    "The trust store '{value}' is a Java key store, which the Kafka client cannot read."
                ))
                .with_hint(
                    "Write it as PEM with `keytool -list -rfc -keystore FILE > ca.pem` and give \
                     'properties.ssl.ca.location' = 'ca.pem'.",
                ));
            }
            // Java's own `cacerts` holds the public authorities: the system's are the same.
            Ok(true)
        }
        "ssl.truststore.password" | "ssl.truststore.type" => Ok(true),
        "ssl.keystore.type" => Ok(true),
        "ssl.keystore.location" => {
            let kind = kind("ssl.keystore.type");
            if kind.as_deref() == Some("PEM") || ends(&[".pem"]) {
                native.insert("ssl.certificate.location".to_string(), value.to_string());
                native.insert("ssl.key.location".to_string(), value.to_string());
                return Ok(true);
            }
            if kind.as_deref() == Some("PKCS12") || ends(&[".p12", ".pfx", ".pkcs12"]) {
                return Ok(false);
            }
            Err(Error::user(format!("The key store '{value}' is a Java key store, which the Kafka client cannot read."))
                .with_hint(
                    "Turn it into PKCS12 with `keytool -importkeystore -srckeystore FILE -destkeystore client.p12 \
                     -deststoretype PKCS12` and give 'properties.ssl.keystore.location' = 'client.p12' with \
                     'properties.ssl.keystore.type' = 'PKCS12'.",
                ))
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(given: &[(&str, &str)]) -> Result<Properties> {
        let mut all = Options::new();
        all.insert("bootstrap.servers".to_string(), "b:9092".to_string());
        all.extend(given.iter().map(|(k, v)| (k.to_string(), v.to_string())));
        Properties::new(&all, "g")
    }

    fn refused(given: &[(&str, &str)]) -> String {
        let error = properties(given).expect_err("refused");
        format!("{} {}", error.message(), error.hint().unwrap_or(""))
    }

    #[test]
    fn java_keys_become_the_clients() {
        let p = properties(&[
            ("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer"),
            ("fetch.max.wait.ms", "7"),
            ("max.poll.records", "10"),
            ("buffer.memory", "1048576"),
            ("ssl.endpoint.identification.algorithm", ""),
            ("auto.offset.reset", "Earliest"),
        ])
        .expect("accepted");
        let config = p.consumer("none");
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
        assert_eq!(config.get("isolation.level"), Some("read_uncommitted"));
        assert_eq!(config.get("ssl.endpoint.identification.algorithm"), Some("none"));
        assert_eq!(p.reset(), Some("earliest"));
        assert_eq!(p.producer().get("queue.buffering.max.kbytes"), Some("1024"));
        assert_eq!(p.producer().get("enable.idempotence"), Some("true"));
        assert_eq!(
            properties(&[("acks", "1")]).expect("ok").producer().get("enable.idempotence"),
            Some("false")
        );
    }

    #[test]
    fn jaas_lines_become_user_and_password() {
        let line = r#"org.apache.kafka.common.security.scram.ScramLoginModule required username="u" password="a\"b;c";"#;
        let p =
            properties(&[("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.jaas.config", line)]).expect("accepted");
        assert_eq!(p.consumer("none").get("sasl.username"), Some("u"));
        assert_eq!(p.consumer("none").get("sasl.password"), Some("a\"b;c"));
        assert!(!format!("{p:?}").contains("a\\\"b"));
        assert!(refused(&[("sasl.jaas.config", line)]).contains("sasl.mechanism"));
        let kerberos = "com.sun.security.auth.module.Krb5LoginModule required;";
        assert!(refused(&[("sasl.jaas.config", kerberos)]).contains("Krb5LoginModule"));
    }

    #[test]
    fn iam_is_refused_by_name() {
        for given in [
            ("sasl.mechanism", "AWS_MSK_IAM"),
            ("sasl.jaas.config", "software.amazon.msk.auth.iam.IAMLoginModule required;"),
            ("sasl.client.callback.handler.class", "software.amazon.msk.auth.iam.IAMClientCallbackHandler"),
        ] {
            assert!(refused(&[given]).contains("AWS_MSK_IAM"), "{given:?}");
        }
    }

    #[test]
    fn java_stores_are_refused_and_pem_and_pkcs12_are_not() {
        assert!(
            refused(&[("ssl.truststore.location", "/a/kafka.jks")]).contains("properties.ssl.ca.location")
        );
        assert!(refused(&[("ssl.keystore.location", "/a/kafka.jks")]).contains("PKCS12"));
        let p = properties(&[
            ("ssl.truststore.location", "/a/ca.pem"),
            ("ssl.keystore.location", "/a/c.p12"),
            ("ssl.keystore.type", "PKCS12"),
            ("ssl.keystore.password", "x"),
        ])
        .expect("accepted");
        assert_eq!(p.consumer("none").get("ssl.ca.location"), Some("/a/ca.pem"));
        assert_eq!(p.consumer("none").get("ssl.keystore.location"), Some("/a/c.p12"));
        let amazon = "/usr/lib/jvm/java-11-amazon-corretto/lib/security/cacerts";
        properties(&[("ssl.truststore.location", amazon), ("ssl.truststore.password", "changeit")])
            .expect("accepted");
    }

    #[test]
    fn unknown_keys_and_values_name_the_nearest() {
        let text = refused(&[("isolation.levle", "read_committed")]);
        assert!(text.contains("Did you mean 'properties.isolation.level'?"), "{text}");
        assert!(refused(&[("isolation.level", "some")]).contains("isolation.level"));
        assert!(refused(&[("ssl.key.password", "${secretsmanager:a:b}")]).contains("config provider"));
        assert!(refused(&[("default.api.timeout.ms", "soon")]).contains("a number"));
    }
}
