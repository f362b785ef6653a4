#!/bin/sh
# in_test_venv.sh [--needs OTHER COMMAND] PROGRAM [ARGS]: runs PROGRAM of the test venv; ctest shows "Skipped" where it is
# missing, or OTHER, which COMMAND installs.
if [ "$1" = --needs ]; then
  if [ ! -x "$2" ]; then
    echo "SKIPPED: $2 is not there; run $3" >&2
    exit 77
  fi
  shift 3
fi
if [ ! -x "$1" ]; then
  echo "SKIPPED: $1 is not there; run deploy/setup.sh --tests" >&2
  exit 77
fi
exec "$@"
