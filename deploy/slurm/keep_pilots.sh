#!/usr/bin/env bash
# Keeps pilots in Slurm's queue for as long as jobs wait at the server.
set -euo pipefail

usage() {
  cat <<'END'
usage: deploy/slurm/keep_pilots.sh [--once] [--interval SECONDS] [--label KEY=VALUE]... MOST [-- SBATCH OPTIONS...]

Asks the server, by `mantissa list`, how many jobs wait, and submits as many pilots (pilot.sbatch), less those that are
in Slurm's queue already and have not begun; never more than MOST at a time, running ones included. Pilots end by
themselves, so it takes none away.

  --once             look once and end, for cron and timers; without it, every --interval
  --interval SECONDS between looks [30]
  --label KEY=VALUE  count only jobs that have it; repeatable

The server's address is MANTISSA_ADDRESS, as for every `mantissa`; the pilots' settings are in the environment, which
sbatch hands on (README.md). A server that can't be reached is said, and asked again at the next look.
END
}

once=0 interval=30 most='' filter=()
while (($#)); do
  case $1 in
    --once) once=1 ;;
    --interval) interval=${2:?--interval: how many seconds?}; shift ;;
    --label) filter+=(--label "${2:?--label: which one? KEY=VALUE}"); shift ;;
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    -*) echo "keep_pilots: unknown option '$1'" >&2; usage >&2; exit 2 ;;
    *)
      if [[ $most ]]; then
        echo "keep_pilots: '$1' after MOST: options of sbatch stand behind --" >&2
        exit 2
      fi
      most=$1
      ;;
  esac
  shift
done
number() { [[ $1 =~ ^[1-9][0-9]{0,5}$ ]]; }
number "$most" || { echo "keep_pilots: MOST: '$most' must be a whole number from 1, e.g. 4" >&2; exit 2; }
number "$interval" || { echo "keep_pilots: --interval: '$interval' must be whole seconds from 1, e.g. 30" >&2; exit 2; }
for program in mantissa squeue sbatch; do
  command -v "$program" >/dev/null || { echo "keep_pilots: $program is not in PATH" >&2; exit 1; }
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=mantissa-pilot

say() { printf '%(%FT%T%z)T keep_pilots: %s\n' -1 "$*" >&2; }

pilots() { squeue --noheader --me --name "$name" --states "$1" --format %i | wc -l; }

look() {  # look [SBATCH OPTIONS...]
  local listed waiting pending all start
  listed=$(mantissa list --state QUEUED ${filter[@]+"${filter[@]}"} --limit "$most" -o json) || return
  # Keys of a job stand on the second level, and each has one id.
  waiting=$(grep -c '^      "id": "' <<<"$listed" || true)
  pending=$(pilots PENDING) && all=$(pilots PENDING,CONFIGURING,RUNNING) || return
  start=$((waiting - pending))
  if ((start > most - all)); then start=$((most - all)); fi
  if ((start <= 0)); then return; fi
  say "$waiting jobs wait (counted up to $most), $all pilots are there, $pending of them pending: submitting $start"
  for ((; start > 0; --start)); do sbatch --parsable --job-name "$name" "$@" "$here/pilot.sbatch" || return; done
}

if ((once)); then
  look "$@"
  exit
fi
while true; do
  look "$@" || say "this look failed; the next one is in $interval s"
  sleep "$interval"
done
