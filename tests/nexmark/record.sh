#!/usr/bin/env bash
# record.sh: runs the Nexmark queries over events.json through real Flink and writes each result table to qN.out. The
# queries are unedited; only what INSERT writes to the sink is shown instead. Needs the oracle:
# ORACLE=…/flink-sql.sh (../../../shared/oracle/flink-sql.sh by default). q12 goes by processing time and has no record.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
oracle=${ORACLE:-$here/../../../shared/oracle/flink-sql.sh}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cases=()
for query in "$here"/q*.sql; do
    name=$(basename "$query")
    [ "$name" = q12.sql ] && continue
    { echo "-- order: materialized"; cat "$here/ddl-json.sql"; sed 's/^INSERT INTO sink *//' "$query"; } > "$work/$name"
    cases+=("$name")
done
(cd "$work" && "$oracle" -v "SRC=$here/events.json" -D pipeline.auto-watermark-interval=0 --write .out "${cases[@]}")
cp "$work"/*.out "$here"
