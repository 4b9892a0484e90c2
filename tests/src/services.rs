//! Addresses of the real test components, from the environment that `make test` sets.

fn address(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `make test`, or `make services` and set it to what that prints")
    })
}

/// Kafka's bootstrap servers, `host:port`.
pub fn kafka() -> String {
    address("RUNNEL_KAFKA")
}

/// Kinesis' endpoint, a URL.
pub fn kinesis() -> String {
    address("RUNNEL_KINESIS")
}

/// moto's endpoint (Glue, STS, S3), a URL.
pub fn moto() -> String {
    address("RUNNEL_MOTO")
}

/// PostgreSQL's `host:port`; user `runnel`, password `runnel-secret`, database `runnel`.
pub fn postgres() -> String {
    address("RUNNEL_POSTGRES")
}
