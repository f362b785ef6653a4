#!/usr/bin/env bash
# Makes the images of programs that are built already.
set -euo pipefail

usage() {
  cat <<'END_OF_USAGE'
usage: deploy/docker/build.sh [--build-dir DIR] [--tag TAG] [--tree DIR] IMAGE...

IMAGE is server, worker or worker-cuda; they are tagged mantissa/IMAGE:TAG. What was built in DIR (build/release) is
installed into a folder of its own and packed, each image with an SPDX list of what is in it in build/images.

  --build-dir DIR   where cmake --build left the programs [build/release]
  --tag TAG         [the version]
  --tree DIR        keep the installed trees there [build/images]

worker-cuda wants a build with the CUDA plug-in and deploy/setup.sh --cuda. It takes 3.9 GB, most of it CUDA's libraries, and
three minutes on two cores; the server takes 0.15 GB.
END_OF_USAGE
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$root/build/release
trees=$root/build/images
tag=
images=()
while (($#)); do
  case $1 in
    --build-dir) build=$2; shift ;;
    --tag) tag=$2; shift ;;
    --tree) trees=$2; shift ;;
    -h | --help) usage; exit 0 ;;
    server | worker | worker-cuda) images+=("$1") ;;
    *) echo "build.sh: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
((${#images[@]})) || { usage >&2; exit 2; }

version=$(sed -n 's/^project(mantissa VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")
revision=$(git -C "$root" rev-parse HEAD 2>/dev/null || true)
# Whoever has docker's newer client without buildx gets a builder that copies what nobody asked for.
export DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-1}

install_components() {  # install_components TREE COMPONENT...
  local tree=$1 component
  shift
  rm -rf "$tree"
  for component in "$@"; do
    cmake --install "$build" --prefix "$tree" --component "$component" --strip >"$trees/install.log" ||
      { tail -n 5 "$trees/install.log" >&2; return 1; }
  done
}

# What only a GPU needs, of a LibTorch that has CUDA's libraries: gigabytes, and a plug-in that would be tried and given up.
drop_cuda() {  # drop_cuda TREE
  local private=$1/lib/mantissa
  rm -f "$private"/libmantissa_cuda.so \
    "$private"/libtorch/torch/lib/lib{torch_cuda,c10_cuda,torch_cuda_linalg,torch_nvshmem,caffe2_nvrtc}.so
  find "$private/libtorch/nvidia" ! -type d ! -name libcudart.so.13 ! -name libcupti.so.13 -delete
  find "$private/libtorch/nvidia" -type d -empty -delete
  find "$private/libtorch" -maxdepth 1 -name 'nvidia_*.dist-info' ! -name 'nvidia_cuda_runtime-*' \
    ! -name 'nvidia_cuda_cupti-*' -exec rm -r {} +
}

mkdir -p "$trees"
for image in "${images[@]}"; do
  tree=$trees/$image
  case $image in
    server) install_components "$tree" server client ;;
    worker*)
      install_components "$tree" worker client libtorch
      if [[ $image == worker-cuda && ! -e $tree/lib/mantissa/libtorch/torch/lib/libtorch_cuda.so ]]; then
        echo "build.sh: $build was configured with a LibTorch without CUDA's libraries: run deploy/setup.sh --cuda," \
          "build again, then this" >&2
        exit 1
      fi
      if [[ $image == worker ]]; then drop_cuda "$tree"; fi
      ;;
  esac
  docker build --quiet --file "$root/deploy/docker/Dockerfile" --target "$image" --build-arg TREE=installed \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" --tag "mantissa/$image:${tag:-$version}" "$tree"
  "$root/deploy/sbom.py" image "mantissa/$image:${tag:-$version}" >"$trees/$image.spdx.json"
done
