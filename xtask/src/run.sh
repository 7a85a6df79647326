#!/usr/bin/env bash
# Tests, checks and measures the CUDA backend on this machine, and writes OUT/gpu.md. Needs an NVIDIA driver; python3 with torch and
# safetensors for the comparison, compute-sanitizer for the checks of memory and races. Takes less than nine minutes.
#
#     ./run.sh [OUT]
#
# OUT is `out` beside this file when not given. Exits with 1 when anything but the profile did not pass.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here/out}
python=${PYTHON:-python3}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
# Only what this script made: an earlier run's results must not look like this one's.
rm -f "$out"/*.log "$out"/steps.tsv "$out"/results.jsonl "$out"/machine.txt "$out"/gpu.md "$out"/*.safetensors
rm -rf "$out/program"
cd "$out" || exit 1
export OPTMSM_REQUIRE=cuda OPTMSM_FIXTURES=$here/fixtures RUST_TEST_THREADS=4 RUST_BACKTRACE=0
# The driver compiles the kernels once; so does PyTorch.
export CUDA_CACHE_PATH=$out/cache/cuda TORCHINDUCTOR_CACHE_DIR=$out/cache/inductor TRITON_CACHE_DIR=$out/cache/triton
total=530
failed=0

record() { # NAME CODE SECONDS
  printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>steps.tsv
  printf '%-24s %s (%s s)\n' "$1" "$2" "$3"
  case $1:$2 in
    *:0 | profile:*) ;;
    *) failed=1 ;;
  esac
}

step() { # NAME SECONDS COMMAND…
  local name=$1 limit=$2 start=$SECONDS code=124
  shift 2
  if [ $((total - SECONDS)) -lt "$limit" ]; then limit=$((total - SECONDS)); fi
  if [ "$limit" -gt 0 ]; then
    timeout --kill-after=5 "$limit" "$@" >"$name.log" 2>&1
    code=$?
    if [ "$code" = 137 ]; then code=124; fi
  else
    echo "no time left" >"$name.log"
  fi
  record "$name" "$code" "$((SECONDS - start))"
}

skip() { # NAME WHY
  echo "$2" >"$1.log"
  record "$1" skipped 0
}

has() { command -v "$1" >/dev/null 2>&1; }

{
  cat "$here/COMMIT"
  if has nvidia-smi; then
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit --format=csv 2>&1
    nvidia-smi 2>&1 | sed -n 's/.*\(CUDA Version: [0-9.]*\).*/\1/p'
  else
    echo "no nvidia-smi"
  fi
  uname -srm
  date -u '+%Y-%m-%d'
} >machine.txt
cat machine.txt

# Every operation and whole models.
step operations 70 "$here/bin/device"
step models 70 "$here/bin/cuda" gpu::
step program 40 "$here/bin/optmsm" train --backend cuda --rows 20000 --set train.epochs=1 --run "$out/program"

# Two runs, one result.
step steps-first 20 "$here/bin/gpu" steps --count 20 --out first.safetensors
step steps-second 20 "$here/bin/gpu" steps --count 20 --out second.safetensors
step bit-equal 5 cmp first.safetensors second.safetensors

# Our side and PyTorch in turn.
if [ "$("$python" -c 'import torch, safetensors; print(torch.cuda.is_available())' 2>/dev/null)" = True ]; then
  step measure 240 "$here/bin/gpu" measure --python "$(command -v "$python")" \
    --peer "$here/peers/optmsm_torch_gpu.py" --budget 150 --out results.jsonl
else
  skip comparison "$python has no torch and safetensors that see a GPU; PYTHON names another one"
  step measure 120 "$here/bin/gpu" measure --out results.jsonl
fi

# Memory and races: a short training, then operations as far as the time goes.
if has compute-sanitizer; then
  for tool in memcheck racecheck; do
    step "$tool-steps" 40 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$here/bin/gpu" steps --count 3 --rows 256 --out sanitized.safetensors
  done
  step memcheck-operations 60 compute-sanitizer --tool memcheck --error-exitcode 9 "$here/bin/device" tf32::
  step racecheck-operations 60 compute-sanitizer --tool racecheck --error-exitcode 9 "$here/bin/device" tf32::linear
else
  for name in memcheck-steps racecheck-steps memcheck-operations racecheck-operations; do
    skip "$name" "no compute-sanitizer"
  done
fi

# What bounds each kernel, for whoever looks closer.
if has ncu; then
  step profile 40 ncu --section SpeedOfLight --csv "$here/bin/gpu" steps --count 1 --out profiled.safetensors
else
  skip profile "no ncu"
fi

"$here/bin/gpu" report "$out" || exit 1
exit "$failed"
