#!/usr/bin/env bash
# Installs, builds and tests everything. Arguments go to ctest: tests/run.sh -L unit, tests/run.sh -L fault, tests/run.sh
# -R Scheduler.
# MANTISSA_PRESET=dev|release|asan|tsan|clang chooses the build; release by default.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=${MANTISSA_PRESET:-release}

"$root/deploy/setup.sh" --tests
cd "$root"
cmake --preset "$preset"
cmake --build --preset "$preset"
# promtool and prometheus are here where the system has none of its own.
export PATH=${MANTISSA_DEPS_DIR:-$root/build/deps}/bin:$PATH
exec ctest --preset "$preset" --parallel "$(nproc)" --no-tests=error "$@"
