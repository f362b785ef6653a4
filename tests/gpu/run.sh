#!/usr/bin/env bash
# The GPU tests, the times of iterations, then jobs on the GPU through a whole service on loopback: what
# tests/gpu/pack.sh packed, on a machine with a GPU and a python3 that has PyTorch 2.11 with CUDA 13.
#
#   tests/gpu/run.sh [DEVICE [--set PATH=VALUE]...]     DEVICE: CUDA, or CPU to try this script where no GPU is
#
# Prints a JSON line for each number and keeps them in a file in $OUT, or in tests/gpu/results. MANTISSA_TORCH_LIB names
# LibTorch's lib folder where python3 has none.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
pack=$root/build/gpu-pack
device=${1:-CUDA}

[[ -d $pack/lib ]] || tar -C "$pack" -xzf "$pack/lib.tar.gz"
torch_lib=${MANTISSA_TORCH_LIB:-$(python3 -c \
  'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0] + "/lib")')}
export LD_LIBRARY_PATH=$torch_lib:$pack/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# The jobs are worth a look even when a test fails; the exit code tells.
tests=0
for test in "mantissa_gpu_test --gtest_brief=1" mantissa_nvml_test; do
  code=0
  # shellcheck disable=SC2086 # a program and its flags
  "$pack/bin/"$test || code=$?
  if [[ $code != 0 && ! ($code == 77 && $device == CPU) ]]; then tests=$code; fi
done
results=${OUT:-$root/tests/gpu/results}
times=0
if [[ $device == CUDA ]]; then
  "$pack/bin/mantissa_gpu_step_bench" "$(<"$pack/commit")" | tee "$results/gpu_step.jsonl" || times=$?
fi
jobs=0
python3 -B "$root/tests/gpu/first_job.py" --bin "$pack/bin" --device "$device" --commit "$(<"$pack/commit")" \
  --results "$results" "${@:2}" || jobs=$?
echo "run: tests ended with $tests, times with $times, jobs with $jobs" >&2
((tests == 0 && times == 0 && jobs == 0))
