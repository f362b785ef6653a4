#!/bin/sh
# Copies the licence texts of this Debian into a worker's `data` root, for gpt_text_bf16.yaml.
#
#   client/examples/prepare_text.sh DATA_ROOT
#
# Makes DATA_ROOT/licenses/train (GNU, Mozilla, Apache, Creative Commons, BSD: 0.2 MB) and DATA_ROOT/licenses/eval (the
# Artistic License, which no other text here quotes). Copies, because a worker follows no link out of its root.
set -eu

source=${LICENSE_TEXTS:-/usr/share/common-licenses}
if [ $# -ne 1 ] || [ ! -d "$1" ]; then
  echo "usage: $0 DATA_ROOT   (a folder that is there, the one given to mantissa-worker as --root data=DATA_ROOT)" >&2
  exit 2
fi
if [ ! -f "$source/Artistic" ]; then
  echo "$0: no licence texts in $source; set LICENSE_TEXTS to a folder of texts, one of them named Artistic" >&2
  exit 1
fi

mkdir -p "$1/licenses/train" "$1/licenses/eval"
for text in "$source"/*; do
  # Links name the newest version of a text that is there under its own name.
  if [ ! -f "$text" ] || [ -L "$text" ]; then continue; fi
  case ${text##*/} in
    Artistic) cp "$text" "$1/licenses/eval/" ;;
    *) cp "$text" "$1/licenses/train/" ;;
  esac
done
echo "$0: $(cat "$1"/licenses/train/* | wc -c) bytes in $1/licenses/train, $(cat "$1"/licenses/eval/* | wc -c) in $1/licenses/eval"
