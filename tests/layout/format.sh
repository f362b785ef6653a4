#!/bin/sh
# Every C++ and .proto file is as clang-format 14 leaves it (another version formats differently).
set -eu
cd "$(dirname "$0")/../.."
if ! command -v clang-format-14 >/dev/null; then
  echo "SKIPPED: clang-format-14 is not here; run deploy/setup.sh --tests" >&2
  exit 77
fi
find process proto server worker client tests \
  \( -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' -o -name '*.proto' \) -print0 |
  xargs -0 clang-format-14 --dry-run --Werror
