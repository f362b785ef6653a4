#!/bin/sh
# Records the API as it is now as what later changes must stay compatible with. Run it when a version is released, never to
# silence the compatibility test.
set -eu
cd "$(dirname "$0")"
exec "${MANTISSA_DEPS_DIR:-../build/deps}/venv/bin/buf" build --exclude-source-info -o baseline.binpb
