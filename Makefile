# Runnel's commands. `make run` and `make test` each do all that a fresh Debian or Ubuntu machine with Rust needs.

# Ports of the test components; override them in the environment or on the command line.
RUNNEL_KAFKA_PORT   ?= 19092
RUNNEL_KINESIS_PORT ?= 14568
RUNNEL_MOTO_PORT    ?= 15000
RUNNEL_POSTGRES_PORT ?= 15432
SERVICES_DIR        ?= target/services

# The crash loop: how many kills, and the seed that decides when.
KILLS ?= 200
SEED  ?= 1

.PHONY: crash-loop help run build test lint packages packages-test services services-down bench bench-scaling bench-limit \
        bench-latency bench-start bench-checkpoints bench-micro

help:
	@echo "make run            build the release binary and open the shell on a tour"
	@echo "make test           get what the tests need, start the test components, run all tests, stop them"
	@echo "make crash-loop KILLS=200 SEED=1   kill -9 jobs again and again; nothing may be lost or doubled"
	@echo "make lint           formatting and lints, as CI runs them"
	@echo "make bench          Nexmark (QUERIES=q0,q5 EVENTS=5000000 PARALLELISM=1,2 SOURCE=kafka PEER=flink); also bench-start,"
	@echo "                    bench-latency, bench-checkpoints, bench-micro, bench-scaling, bench-limit: docs/performance.md"
	@echo "make services       start Kafka, Kinesis, moto (Glue, STS, S3) and PostgreSQL on loopback; make services-down stops them"

run: build
	@$(or $(CARGO_TARGET_DIR),target)/release/runnel tour

build: packages
	@cargo build --workspace --release

# What building needs: a C compiler, make, pkg-config, OpenSSL and zlib headers (librdkafka, SQLite).
packages:
	@tools/packages.sh gcc g++ make pkg-config perl libssl-dev zlib1g-dev

# What the test components need besides.
packages-test: packages
	@tools/packages.sh curl openssl java:openjdk-17-jre-headless mvn:maven node:nodejs npm python3 python3-pip python3-venv postgresql

test: packages-test
	@RUNNEL_KAFKA_PORT=$(RUNNEL_KAFKA_PORT) RUNNEL_KINESIS_PORT=$(RUNNEL_KINESIS_PORT) \
	 RUNNEL_MOTO_PORT=$(RUNNEL_MOTO_PORT) RUNNEL_POSTGRES_PORT=$(RUNNEL_POSTGRES_PORT) SERVICES_DIR=$(SERVICES_DIR) tools/test.sh

# Runs a command with a Kafka of its own, unless RUNNEL_KAFKA names one.
WITH_KAFKA = RUNNEL_KAFKA=$(RUNNEL_KAFKA) tools/with-kafka.sh $(SERVICES_DIR) $(RUNNEL_KAFKA_PORT) env

# Measurements. Results are added to target/bench/*.jsonl; see docs/performance.md.
bench: build
	@$(if $(filter kafka,$(SOURCE)),$(WITH_KAFKA)) QUERIES=$(QUERIES) EVENTS=$(EVENTS) PARALLELISM=$(PARALLELISM) \
	 RUNS=$(RUNS) PEER=$(PEER) SOURCE=$(SOURCE) cargo bench -q --bench nexmark

bench-latency: build
	@$(WITH_KAFKA) LOAD=$(LOAD) RATE=$(RATE) SECONDS=$(SECONDS) cargo bench -q --bench latency

bench-start: build
	@$(WITH_KAFKA) cargo bench -q --bench start

bench-checkpoints: build
	@EVENTS=$(EVENTS) RUNS=$(RUNS) CASES=$(CASES) cargo bench -q --bench checkpoints

bench-micro: packages
	@cargo bench -q --bench micro
	@RUNS=$(RUNS) cargo bench -q --bench exchange

bench-limit: build
	@EVENTS=$(EVENTS) RUNS=$(RUNS) cargo bench -q --bench limit

bench-scaling: build
	@CASES=$(CASES) RUNS=$(RUNS) cargo bench -q --bench scaling
	@python3 benches/plot.py $(or $(BENCH_DIR),$(or $(CARGO_TARGET_DIR),target)/bench)/scaling.jsonl docs/performance

crash-loop: packages-test
	@RUNNEL_KAFKA_PORT=$(RUNNEL_KAFKA_PORT) RUNNEL_KINESIS_PORT=$(RUNNEL_KINESIS_PORT) \
	 RUNNEL_MOTO_PORT=$(RUNNEL_MOTO_PORT) RUNNEL_POSTGRES_PORT=$(RUNNEL_POSTGRES_PORT) SERVICES_DIR=$(SERVICES_DIR) \
	 RUNNEL_CRASH_KILLS=$(KILLS) RUNNEL_CRASH_SEED=$(SEED) tools/test.sh --test crash -- --nocapture --test-threads=1

lint:
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings

services: packages-test
	@tests/services/kafka.sh start $(SERVICES_DIR) $(RUNNEL_KAFKA_PORT)
	@tests/services/kinesis.sh start $(SERVICES_DIR) $(RUNNEL_KINESIS_PORT)
	@tests/services/moto.sh start $(SERVICES_DIR) $(RUNNEL_MOTO_PORT)
	@tests/services/postgres.sh start $(SERVICES_DIR) $(RUNNEL_POSTGRES_PORT)
	@echo "Kafka 127.0.0.1:$(RUNNEL_KAFKA_PORT) · Kinesis http://127.0.0.1:$(RUNNEL_KINESIS_PORT) · moto http://127.0.0.1:$(RUNNEL_MOTO_PORT) · PostgreSQL 127.0.0.1:$(RUNNEL_POSTGRES_PORT)"

services-down:
	@tests/services/kafka.sh stop $(SERVICES_DIR) $(RUNNEL_KAFKA_PORT)
	@tests/services/kinesis.sh stop $(SERVICES_DIR) $(RUNNEL_KINESIS_PORT)
	@tests/services/moto.sh stop $(SERVICES_DIR) $(RUNNEL_MOTO_PORT)
	@tests/services/postgres.sh stop $(SERVICES_DIR) $(RUNNEL_POSTGRES_PORT)
