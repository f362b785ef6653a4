#!/usr/bin/env bash
# Packs the built programs and the shared libraries they need (LibTorch left out) into build/gpu-pack, for a machine that
# has a GPU and a PyTorch 2.11 with CUDA 13, but neither our packages nor a compiler. There: tests/gpu/run.sh.
# MANTISSA_BUILD_DIR names another build folder than build/release.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${MANTISSA_BUILD_DIR:-$root/build/release}/bin
pack=$root/build/gpu-pack
rm -rf "$pack"
mkdir -p "$pack/bin" "$pack/lib"
for file in mantissa-server mantissa-worker mantissa-trainer mantissa libmantissa_cuda.so mantissa_gpu_test \
  mantissa_gpu_step_bench mantissa_nvml_test; do
  [[ -f $bin/$file ]] || { echo "pack: $bin/$file is not built" >&2; exit 1; }
  strip -o "$pack/bin/$file" "$bin/$file"
done
git -C "$root" rev-parse --short=12 HEAD >"$pack/commit"
# Everything ldd finds, but LibTorch's and CUDA's own and those that belong to the C library and the compiler. What the
# machine has under the same name may be another version, so OpenSSL and zlib travel too.
theirs='/nvidia/|/lib(torch|c10|cu(da|blas|dnn|fft|file|pti|rand|solver|sparse)|nv|nccl|gomp)'
systems='/lib(c|m|dl|rt|pthread|resolv|util|stdc\+\+|gcc_s)\.so'
for file in "$pack"/bin/*; do
  ldd "$bin/$(basename "$file")" 2>/dev/null | awk '$3 ~ /^\// {print $3}'
done | sort -u | grep -vE "$theirs|$systems" | while read -r library; do cp -L "$library" "$pack/lib/"; done
strip --strip-unneeded "$pack"/lib/*
tar -C "$pack" -czf "$pack/lib.tar.gz" lib
rm -r "${pack:?}/lib"
megabytes=$(du -sm "$pack" | cut -f1)
echo "pack: $pack holds $megabytes MB, commit $(<"$pack/commit")" >&2
if ((megabytes > 60)); then
  echo "pack: more than 60 MB; is something of LibTorch or CUDA in $pack/lib?" >&2
  exit 1
fi
