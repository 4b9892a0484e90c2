#!/usr/bin/env bash
# test.sh: builds, starts the test components, runs every test, and stops the components whatever happens.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir=${SERVICES_DIR:-target/services}
kafka=${RUNNEL_KAFKA_PORT:-19092} kinesis=${RUNNEL_KINESIS_PORT:-14568} moto=${RUNNEL_MOTO_PORT:-15000}
postgres=${RUNNEL_POSTGRES_PORT:-15432}

stop() {
    tests/services/kafka.sh stop "$dir" "$kafka" || true
    tests/services/kinesis.sh stop "$dir" "$kinesis" || true
    tests/services/moto.sh stop "$dir" "$moto" || true
    tests/services/postgres.sh stop "$dir" "$postgres" || true
}
trap stop EXIT
trap 'exit 130' INT TERM

# Everything is built before the components take memory.
cargo build --workspace --tests --bins

tests/services/kafka.sh start "$dir" "$kafka"
tests/services/kinesis.sh start "$dir" "$kinesis"
tests/services/moto.sh start "$dir" "$moto"
tests/services/postgres.sh start "$dir" "$postgres"

export RUNNEL_KAFKA=127.0.0.1:$kafka
export RUNNEL_KAFKA_TLS_CA="$(cd "$dir" && pwd)/kafka-$kafka/ca.pem"
export RUNNEL_KINESIS=http://127.0.0.1:$kinesis
export RUNNEL_MOTO=http://127.0.0.1:$moto
export RUNNEL_POSTGRES=127.0.0.1:$postgres
export RUNNEL_POSTGRES_DIR="$(cd "$dir" && pwd)"
cargo test --workspace "$@"
