#!/usr/bin/env bash
# Builds Mantissa, starts a server and a worker on this machine, trains the digits example and shows it.
set -euo pipefail

usage() {
  cat <<'END'
usage: deploy/quickstart.sh [--keep]

Installs what is missing, builds, starts a server and a worker on loopback with their data in build/quickstart, submits
client/examples/digits_fp16.yaml and watches it to its end. Exits with the job's code: 0 succeeded, 3 failed.

  --keep   leave the server and the worker running
END
}

keep=0
for argument in "$@"; do
  case $argument in
    --keep) keep=1 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "quickstart: unknown argument '$argument'" >&2; usage >&2; exit 2 ;;
  esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=$root/build/quickstart
bin=$root/build/release/bin
examples=$root/client/examples
cd "$root"

say() { printf 'quickstart: %s\n' "$*" >&2; }
fail() {
  say "FAILED: $1"
  shift
  for line in "$@"; do say "  $line"; done
  exit 1
}

# ---- what was started, and stopping it ----

is_ours() {  # is_ours PID PROGRAM: a live process of this build, not a stranger that got an old number
  local program
  program=$(readlink "/proc/$1/exe" 2>/dev/null) || return 1
  [[ ${program% (deleted)} == "$bin/$2" ]]
}

stop() {  # stop PROGRAM: the one whose number is in build/quickstart
  local pid file=$home/$1.pid
  pid=$(cat "$file" 2>/dev/null) || return 0
  rm -f "$file"
  is_ours "$pid" "$1" || return 0
  kill -TERM "$pid" 2>/dev/null || return 0
  for ((tenth = 0; tenth < 200; ++tenth)); do
    is_ours "$pid" "$1" || return 0
    sleep 0.1
  done
  say "$1 (process $pid) did not stop within 20 s; killing it"
  kill -KILL "$pid" 2>/dev/null || true
}

guard=
# Called by the traps below.
# shellcheck disable=SC2317
finish() {
  local code=$?
  trap - EXIT INT TERM
  if [[ $guard ]]; then kill "$guard" 2>/dev/null || true; fi
  if ((keep)) && alive mantissa-server && alive mantissa-worker; then
    say "the server and the worker are still running; stop them with:"
    say "  kill $(cat "$home/mantissa-worker.pid") $(cat "$home/mantissa-server.pid")"
  else
    stop mantissa-worker
    stop mantissa-server
  fi
  exit "$code"
}

start() {  # start PROGRAM ARGUMENTS: in a session of its own, so that Ctrl-C here does not reach it first
  local program=$1
  shift
  setsid "$bin/$program" "$@" </dev/null >"$home/$program.log" 2>&1 9>&- &
  echo $! >"$home/$program.pid"
}

show_log() {
  say "the end of $home/$1.log:"
  tail -n 15 "$home/$1.log" >&2 || true
}

alive() { is_ours "$(cat "$home/$1.pid" 2>/dev/null)" "$1"; }

wait_until() {  # wait_until PROGRAM WHAT COMMAND...: a minute at most, and not longer than the program lives
  local program=$1 what=$2
  shift 2
  for ((tenth = 0; tenth < 600; ++tenth)); do
    if "$@" >/dev/null 2>&1; then return; fi
    # The first look is before setsid has become the program.
    if ((tenth > 10)) && ! alive "$program"; then break; fi
    sleep 0.1
  done
  show_log "$program"
  fail "$program $what"
}

free_address() {  # free_address PORT: loopback at that port, or at another where it is taken
  python3 - "$1" <<'END'
import socket, sys
for port in (int(sys.argv[1]), 0):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(f"127.0.0.1:{s.getsockname()[1]}")
        break
END
}

# ---- set-up and build ----

"$root/deploy/setup.sh" >&2
say "building (a few minutes the first time)"
cmake --preset release >"$root/build/quickstart-configure.log" 2>&1 ||
  { tail -n 20 "$root/build/quickstart-configure.log" >&2; fail "cmake (all of it: build/quickstart-configure.log)"; }
grep 'CUDA plug-in' "$root/build/quickstart-configure.log" >&2 || true
cmake --build --preset release --target programs >&2

mkdir -p "$home"
exec 9>"$home/.lock"
flock --nonblock 9 || fail "another quickstart is at work in $home"

for program in mantissa-worker mantissa-server; do
  if alive "$program"; then
    say "stopping the $program that an earlier quickstart left running"
    stop "$program"
  fi
done

# ---- server, worker, job ----

data=$home/data
mkdir -p "$data" "$home/checkpoints"
cp -r "$examples/digits" "$data/"
"$examples/prepare_text.sh" "$data" >/dev/null || say "gpt_text_bf16.yaml will not find its texts; the digits do not need them"

address=$(free_address 50051)
metrics=$(free_address 9464)
worker_metrics=$(free_address 9465)
[[ $address == *:50051 ]] || say "port 50051 is taken; using $address"

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cli=("$bin/mantissa" --address "$address")
say "starting the server on $address and a worker; logs in $home"
start mantissa-server --listen "$address" --metrics-listen "$metrics" --data-dir "$home/server"
wait_until mantissa-server "does not answer" "${cli[@]}" list
start mantissa-worker --server "$address" --metrics-listen "$worker_metrics" --state-dir "$home/worker" \
  --root "data=$data" --root "checkpoints=$home/checkpoints"
wait_until mantissa-worker "did not connect" sh -c '"$@" | grep -Eq "\"connected\": *true"' sh \
  "${cli[@]}" workers -o json

# A server or worker that dies would leave the watch waiting for ever.
(
  while alive mantissa-server && alive mantissa-worker; do sleep 1; done
  read -r -a children <"/proc/$$/task/$$/children" || true  # the file ends without a newline
  for child in "${children[@]}"; do
    if [[ $(cat "/proc/$child/comm" 2>/dev/null) == mantissa ]]; then kill "$child"; fi
  done
) 9>&- &
guard=$!

say "submitting client/examples/digits_fp16.yaml"
code=0
"${cli[@]}" submit "$examples/digits_fp16.yaml" --watch || code=$?

for program in mantissa-server mantissa-worker; do
  if ! alive "$program"; then
    show_log "$program"
    fail "$program ended while the job ran"
  fi
done
((code == 130)) && exit 130

# ---- the result, and where to look next ----

say "the job:"
"${cli[@]}" get digits-fp16 || true
say "its checkpoints:"
"${cli[@]}" checkpoints digits-fp16 || true
here=
((keep)) || here=" (with --keep, while they run)"
cat >&2 <<END

Next$here:
  export PATH=$bin:\$PATH MANTISSA_ADDRESS=$address

  mantissa download digits-fp16           # the model, as safetensors
  mantissa submit client/examples/gpt_text_bf16.yaml --watch
  curl -s $metrics/metrics                # what Prometheus sees
  ls $home/checkpoints
END
exit "$code"
