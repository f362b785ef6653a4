#!/usr/bin/env bash
# Runs one benchmark, or all, and prints JSON lines {"bench","case","metric","value","unit"[,"peer"]}.
#
#   tests/bench/run.sh step       iterations/s of four models against eager PyTorch, telemetry on against off
#   tests/bench/run.sh submit     durable submits/s beside the least that they can cost
#   tests/bench/run.sh service    warm submit -> first record, durable submits/s
#   tests/bench/run.sh idle       memory and CPU of an idle server with one idle worker
#   tests/bench/run.sh restart    a start with a million jobs in the database: until it serves, memory, a page of the list
#
# Ratios are of pairs measured in one run; no figure is a test. What a benchmark needs is installed and built first.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
name=${1:?usage: tests/bench/run.sh step|submit|service|idle|restart [arguments]}
shift
case $name in
  step) "$root/deploy/setup.sh" --tests --bench >&2 ;;
  submit | service | idle | restart) "$root/deploy/setup.sh" --tests >&2 ;;
  *) echo "tests/bench/run.sh: no benchmark '$name'; there are step, submit, service, idle and restart" >&2; exit 2 ;;
esac
cd "$root"
cmake --preset release >&2
cmake --build --preset release >&2
if [[ $name == submit ]]; then cmake --build --preset release --target benches >&2; fi
exec "$root/build/deps/venv/bin/python" "$root/tests/bench/${name}_bench.py" --bin "$root/build/release/bin" "$@"
