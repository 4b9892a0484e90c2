#!/usr/bin/env bash
# record.sh [CASE.sql …]: runs the golden cases (all, or those named) through real Flink and writes each answer to
# CASE.out. Needs the oracle: ORACLE=…/flink-sql.sh (../../../shared/oracle/flink-sql.sh by default). Cases with ${DIM}
# need the jars flink-connector-jdbc and postgresql in the oracle's lib, and a PostgreSQL at PG=host:port that
# tests/services/postgres.sh has started, filled from data/dim.sql.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
oracle=${ORACLE:-$here/../../../shared/oracle/flink-sql.sh}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cases=("$@")
if [ ${#cases[@]} -eq 0 ]; then
    mapfile -t cases < <(cd "$here" && find . -mindepth 2 -name '*.sql' | sort)
fi
for case in "${cases[@]}"; do
    mkdir -p "$work/$(dirname "$case")"
    cat "$here/tables.sql" "$here/$case" > "$work/$case"
done
dim="'connector' = 'jdbc', 'url' = 'jdbc:postgresql://${PG:-127.0.0.1:15432}/runnel', 'table-name' = 'dim', 'username' = 'runnel', 'password' = 'runnel-secret'"
(cd "$work" && "$oracle" -v "DATA=$here/data" -v "DIM=$dim" --write .out "${cases[@]}") || true
for case in "${cases[@]}"; do
    # The first line tells Flink's version and the way the rows are ordered.
    cp "$work/${case%.sql}.out" "$here/${case%.sql}.out"
done
