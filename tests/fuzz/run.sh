#!/usr/bin/env bash
# run.sh PROGRAM: fuzzes for MANTISSA_FUZZ_SECONDS (30). What it learns is kept beside the build, so that the next run goes
# on from there; an input that crashes, leaks, takes too long or too much memory is kept under fuzz-artifacts, and fails.
set -euo pipefail
program=$1
name=$(basename "$program")
name=${name#fuzz_}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(dirname "$program")/..
learned=$work/fuzz-corpus/$name
artifacts=$work/fuzz-artifacts/$name
seeds=$here/corpus/$name
mkdir -p "$learned" "$artifacts"
[[ -n $(ls -A "$seeds") ]] || { echo "run.sh: $seeds has no seeds; make_seeds.py makes them" >&2; exit 1; }
seed=${MANTISSA_SEED:-$RANDOM}
echo "seed $seed (MANTISSA_SEED), artifacts in $artifacts"
# The limit of 1 s is of processor time and is hang_guard.h's; libFuzzer's own is for an input that sleeps.
export ASAN_OPTIONS=allocator_may_return_null=0:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
exec "$program" -max_total_time="${MANTISSA_FUZZ_SECONDS:-30}" -seed="$seed" -timeout=20 -rss_limit_mb=1024 \
  -malloc_limit_mb=256 -max_len="${MANTISSA_FUZZ_MAX_LEN:-16384}" -artifact_prefix="$artifacts/" \
  -print_final_stats=1 -use_value_profile=1 -reload=0 "$learned" "$seeds"
