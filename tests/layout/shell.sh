#!/bin/sh
# No finding of shellcheck in any of our scripts.
set -eu
cd "$(dirname "$0")/../.."
if ! command -v shellcheck >/dev/null; then
  echo "SKIPPED: shellcheck is not here; run deploy/setup.sh --tests" >&2
  exit 77
fi
find . -path ./build -prune -o -path ./.git -prune -o \( -name '*.sh' -o -path './.ci/run' \) -type f -print0 |
  xargs -0 shellcheck
