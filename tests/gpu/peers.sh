#!/usr/bin/env bash
# Beside PyTorch on one GPU, each of these in one go: what tests/gpu/pack.sh packed, on a machine with a GPU and a python3
# that has PyTorch 2.11 with CUDA 13.
#
#   tests/gpu/peers.sh steps [--seconds S ...]   iterations against PyTorch's, in pairs
#   tests/gpu/peers.sh curves                    losses of GPT-2 124M on real text against PyTorch's
#   tests/gpu/peers.sh service                   iterations through the whole service against the engine alone, in pairs
#   tests/gpu/peers.sh studies                   the large precision comparisons, beside the peers.jsonl of `steps`
#
# Figures go to $OUT, or to tests/gpu/results. MANTISSA_GPU_PACK names the pack's folder if it is not build/gpu-pack.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
pack=${MANTISSA_GPU_PACK:-$root/build/gpu-pack}
results=${OUT:-$root/tests/gpu/results}
what=${1:?usage: tests/gpu/peers.sh steps|curves|service|studies [arguments]}
shift

[[ -d $pack/lib ]] || tar -C "$pack" -xzf "$pack/lib.tar.gz"
torch_lib=${MANTISSA_TORCH_LIB:-$(python3 -c \
  'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0] + "/lib")')}
export LD_LIBRARY_PATH=$torch_lib:$pack/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
MANTISSA_COMMIT=$(<"$pack/commit")
export MANTISSA_COMMIT
run() { python3 -B "$root/tests/gpu/$1.py" --bin "$pack/bin" "${@:2}"; }
case $what in
  steps) run peer_bench "$@" | tee "$results/peers.jsonl" ;;
  curves) run curves --commit "$MANTISSA_COMMIT" --results "$results" "$@" ;;
  service) run service_pairs "$@" | tee "$results/service_pairs.jsonl" ;;
  studies)
    reports=$(mktemp -d)
    trap 'rm -r "$reports"' EXIT
    run studies --device CUDA --results "$reports" --only layer_32x512_precisions,gpt2_124m_precisions "$@"
    mv "$reports/gpt2_124m_precisions.json" "$reports/gpt2_124m_8x1024_precisions.json"
    cp "$reports"/*.json "$results"
    python3 -B "$root/tests/gpu/compare_studies.py" "$results/peers.jsonl" "$reports"/*.json |
      tee "$results/studies_beside_pytorch.txt"
    ;;
  *) echo "peers: there is no '$what'" >&2; exit 2 ;;
esac
