#!/usr/bin/env bash
# Installs Horovod into an environment that already has TensorFlow, from a wheel that is compiled once and kept.
#
#   tools/build_horovod.sh [PYTHON]      PYTHON: the environment's interpreter, default .venv/bin/python
#   tools/build_horovod.sh PYTHON gpu    the same for graphics cards: NCCL of the environment's nvidia-nccl-cu12, CUDA's
#                                        compiler from CUDA_HOME or PATH, since no Python package for CUDA 12 brings one
#
# HIPSEG_CACHE: folder of the kept wheels, default .cache; several checkouts may share one.
# Needs a C++17 compiler and make; CMake 3 and the rest come from requirements/build.txt. 2 to 5 minutes on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(realpath --no-symlinks "${1:-.venv/bin/python}")
kind="${2:-cpu}"
lock=requirements/horovod.txt

# --- what is built: TensorFlow over Gloo, on graphics cards over NCCL, without MPI and the other frameworks ---
export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1
export HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1
export HOROVOD_CPU_OPERATIONS=GLOO
includes=("$PWD/tools/horovod_include")
nvidia=""
case $kind in
  cpu) ;;
  gpu)
    # nvcc says itself where its toolkit lies: what is on PATH may be a script that calls it.
    nvcc="${CUDA_HOME:+$CUDA_HOME/bin/}nvcc"
    home=$("$nvcc" --dryrun -c none.cu 2>&1 | sed -n 's/^#\$ TOP=//p') || true
    [[ -n $home ]] || { echo "build_horovod: no CUDA compiler (nvcc); load the site's CUDA 12 module or set CUDA_HOME" >&2; exit 1; }
    HOROVOD_CUDA_HOME=$(realpath "$home")
    export HOROVOD_CUDA_HOME HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_NCCL_LINK=SHARED
    nvidia=$("$python" -c "import nvidia.nccl; print(*nvidia.nccl.__path__)" 2> /dev/null) \
      || { echo "build_horovod: no NCCL in $python; install requirements/runtime-gpu.txt first" >&2; exit 1; }
    "$HOROVOD_CUDA_HOME/bin/nvcc" --version | grep -q 'release 12\.' \
      || echo "build_horovod: nvcc is not of CUDA 12, as TensorFlow's libraries are; Horovod will need a driver for nvcc's release" >&2
    includes+=("$PWD/tools/horovod_include_gpu")
    # Where the package's library lies as seen from Horovod's; it would be searched for in the system alone.
    export LDFLAGS="-Wl,-rpath,'\$ORIGIN/../../nvidia/nccl/lib' ${LDFLAGS:-}"
    ;;
  *) echo "build_horovod: no kind of build $kind; cpu or gpu" >&2; exit 1 ;;
esac
# Not the flags of a `make` above: its -n or -k would reach Horovod's own make, and each of 2 jobs needs about 1 GB.
export MAKEFLAGS=-j2

# --- for what it is built: a wheel fits one TensorFlow, one Python, one set of flags, one compiler ---
export TF_CPP_MIN_LOG_LEVEL=3
read -r tag tensorflow include < <("$python" - 2> /dev/null << 'PYTHON'
import sys

import tensorflow

print(f"cp{sys.version_info.major}{sys.version_info.minor}", tensorflow.__version__, tensorflow.sysconfig.get_include())
PYTHON
) || { echo "build_horovod: no TensorFlow in $python; install requirements/runtime.txt first" >&2; exit 1; }
release=$(sed -n 's/^horovod==\([^ ]*\).*/\1/p' "$lock")
# TensorFlow's wheel carries these two folders, but its own headers do not find them where they lie.
external=(highwayhash farmhash_archive/src)
digest=$({ env | grep '^HOROVOD_' | sort; echo "${CXXFLAGS:-} ${external[*]}"; "${CXX:-g++}" --version; uname -m; \
  cat "$lock"; find "${includes[@]}" -type f -exec cat {} +; \
  if [[ -n $nvidia ]]; then "$HOROVOD_CUDA_HOME/bin/nvcc" --version; grep 'define NCCL_VERSION_CODE' "$nvidia/include/nccl.h"; fi; } | sha256sum | cut -c1-12)
kept="${HIPSEG_CACHE:-.cache}/wheels/horovod-$release-tf$tensorflow-$tag-$digest"

has_wheel() { compgen -G "$kept/*.whl" > /dev/null; }

# The folder appears under its name only when the wheel in it is whole.
compile() {
  local building links
  building=$(mktemp --directory "$kept.XXXXXX")
  links=$(mktemp --directory)
  trap "rm -rf '$building' '$links'" EXIT
  if [[ -n $nvidia ]]; then
    # The package has the library under its versioned name only, where a linker does not look.
    ln -s "$nvidia/include" "$links/include"
    mkdir "$links/lib"
    ln -s "$nvidia/lib/libnccl.so.2" "$links/lib/libnccl.so"
    export HOROVOD_NCCL_HOME="$links"
  fi
  echo "compiling Horovod $release ($kind) for TensorFlow $tensorflow, once (2 to 5 minutes); log in $kept.log"
  if ! PATH="$(dirname "$python"):$PATH" \
    CXXFLAGS="${includes[*]/#/-I} ${external[*]/#/-I$include/external/} ${CXXFLAGS:-}" \
    "$python" -m pip wheel --no-build-isolation --no-deps --no-binary horovod --no-cache-dir --require-hashes \
    --requirement "$lock" --wheel-dir "$building" --verbose > "$kept.log" 2>&1; then
    tail -n 40 "$kept.log" >&2
    echo "build_horovod: compiling failed; the whole log is $kept.log" >&2
    exit 1
  fi
  chmod 755 "$building" # mktemp's folder is private; a cache may be shared
  mv --no-target-directory "$building" "$kept"
}

if ! has_wheel; then
  mkdir -p "$(dirname "$kept")"
  exec 9> "$kept.lock"
  flock 9 # whoever comes second waits, and finds the wheel
  has_wheel || compile
fi
"$python" -m pip install --quiet --no-deps --no-index --force-reinstall "$kept"/*.whl
