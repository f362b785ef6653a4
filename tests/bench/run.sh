#!/usr/bin/env bash
# Runs one benchmark and prints JSON lines {"bench","case","metric","value","unit"[,"peer"],"commit"}.
#
#   tests/bench/run.sh step          iterations/s of four models against eager PyTorch, telemetry on against off
#   tests/bench/run.sh submit        durable submits/s beside the least that they can cost
#   tests/bench/run.sh dispatch      submit -> its assignment at a waiting worker, beside the least that it can cost
#   tests/bench/run.sh queue         jobs/s of a long queue of the shortest jobs through one worker, and the gaps between
#   tests/bench/run.sh idle          memory and CPU of an idle server with one worker and with a thousand
#   tests/bench/run.sh first_record  warm submit -> first record at a watcher
#   tests/bench/run.sh fanout        records/s to a hundred watchers of one job beside the least that they can cost, how old
#                                    records are then, and what watchers who never read cost the others
#   tests/bench/run.sh restart       a start with a million jobs in the database: until it serves, memory, a page of the list
#   tests/bench/run.sh history       replay of a job with a million records, thinned and whole, and what they take on disk
#   tests/bench/run.sh service       the seven of them that are about the service, one after the other
#   tests/bench/run.sh placement     what an event costs the scheduler as workers and jobs grow, in process
#
# Ratios are of pairs measured in one run; no figure is a test. What a benchmark needs is installed and built first.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
service=(submit dispatch queue idle first_record fanout restart)
name=${1:?usage: tests/bench/run.sh step|service|submit|dispatch|queue|idle|first_record|fanout|restart|history|placement [arguments]}
shift
case $name in
  step | placement | history) benches=("$name") ;;
  service) benches=("${service[@]}") ;;
  *)
    [[ " ${service[*]} " == *" $name "* ]] || { echo "tests/bench/run.sh: no benchmark '$name'" >&2; exit 2; }
    benches=("$name")
    ;;
esac
if [[ $name == step ]]; then
  "$root/deploy/setup.sh" --tests --bench >&2
else
  "$root/deploy/setup.sh" --tests >&2
fi
cd "$root"
cmake --preset release >&2
cmake --build --preset release >&2
if [[ $name != step ]]; then cmake --build --preset release --target benches >&2; fi
for bench in "${benches[@]}"; do
  "$root/build/deps/venv/bin/python" "$root/tests/bench/${bench}_bench.py" --bin "$root/build/release/bin" "$@"
done
