#!/usr/bin/env bash
# Makes the fixture tests/checkpoints/$1 with this release: the stateful job of tests/checkpoint_fixture.rs over a file,
# killed right after a checkpoint in the middle of it. Only for a new format: a fixture that is there is never made again.
set -euo pipefail
cd "$(dirname "$0")/../.."
to=tests/checkpoints/$1
[ ! -e "$to" ] || { echo "$to is there: later releases must restore it as it is"; exit 1; }
work=$(mktemp -d)
cargo build -q --workspace
target=${CARGO_TARGET_DIR:-target}
RUNNEL_CAPTURE=$work cargo test -q --workspace --test checkpoint_fixture script_for_capture
RUNNEL_FAILPOINTS="checkpoint.after-manifest=kill@2" "$target"/debug/runnel --catalog memory \
  -D execution.checkpointing.interval=20ms -D state.checkpoints.dir="$work/checkpoints" -D parallelism.default=2 \
  run "$work/job.sql" > /dev/null && { echo "the job ended before it was killed"; exit 1; }
mkdir -p "$to"
cp -r "$work"/checkpoints/*/chk-* "$to/"
find "$to" -name '*.tmp' -delete
rm -r "$work"
find "$to" -type f -print0 | xargs -0 ls -la
