#!/bin/sh
# in_test_venv.sh PROGRAM [ARGS]: runs PROGRAM of the test venv; ctest shows "Skipped" where the venv is missing.
if [ ! -x "$1" ]; then
  echo "SKIPPED: $1 is not there; run deploy/setup.sh --tests" >&2
  exit 77
fi
exec "$@"
