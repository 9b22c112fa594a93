#!/usr/bin/env bash
# Everything that only a machine with an NVIDIA GPU can answer, a Jetson or a desktop: what it is, whether explanations on it are those
# of the CPU, what NVIDIA's checkers say, and how long every kernel takes. `tests/gpu.sh STAGE...` runs some stages only:
# machine, doctor, conformance, sanitizer, timing. Nothing is changed: neither clocks nor power modes.
#
# With the mock driver of tests/emulator in LD_LIBRARY_PATH and ELUCID_CUDA_CODE=ptx it runs without a GPU; times mean nothing then.
# PROFILE=dev takes another cargo profile than release.
set -euo pipefail
cd "$(dirname "$0")/.."

PROFILE=${PROFILE:-release}
FOLDER=$PROFILE
[ "$PROFILE" != dev ] || FOLDER=debug
PROGRAM=${CARGO_TARGET_DIR:-target}/$FOLDER/elucid
CARGO=(env -u LD_LIBRARY_PATH cargo) # A mock driver isn't for compilers.
EMULATED=

say() { printf '\n== %s\n' "$*"; }

# Runs a command if there is such a program, and says so if not.
try() {
    if command -v "$1" >/dev/null; then
        "$@" 2>&1 || echo "$1 failed"
    else
        echo "$1: not on this machine"
    fi
}

machine() {
    say "machine"
    date -u +%Y-%m-%dT%H:%MZ
    uname -srm
    git log -1 --format='elucid %h of %cs' 2>/dev/null || true
    # On a Jetson: its name, JetPack's release, power mode and clocks.
    if [ -r /proc/device-tree/model ]; then tr -d '\0' </proc/device-tree/model && echo; fi
    head -n 1 /etc/nv_tegra_release 2>/dev/null || true
    say "power mode and clocks"
    try nvpmodel -q
    if command -v jetson_clocks >/dev/null; then
        if [ "$(id -u)" -eq 0 ]; then jetson_clocks --show; else sudo -n jetson_clocks --show 2>&1 || echo "jetson_clocks --show needs root"; fi
    else
        echo "jetson_clocks: not on this machine"
    fi
    try nvidia-smi --query-gpu=name,driver_version,pstate,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit,temperature.gpu --format=csv
}

build() {
    "${CARGO[@]}" build --quiet --profile "$PROFILE" -p elucid-host --bin elucid --example timing
}

# Whether the device is the emulator's, which every stage says.
look() {
    if "$PROGRAM" doctor | grep -q Emulated; then
        EMULATED=yes
        echo "!! The device is emulated on a CPU: that kernels compute the right thing can be seen, times mean nothing."
    fi
}

doctor() {
    say "elucid doctor"
    "$PROGRAM" doctor
}

conformance() {
    say "conformance: the suite's networks, all memory modes, batches and targets, against the CPU"
    local test graphs
    test=$("${CARGO[@]}" test --quiet --profile "$PROFILE" -p elucid-tests --test cuda_gpu --no-run --message-format=json |
        sed -n 's/.*"name":"cuda_gpu".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    for graphs in 1 0; do
        echo "ELUCID_CUDA_GRAPH=$graphs"
        (cd tests && ELUCID_GPU=1 ELUCID_CUDA_GRAPH=$graphs "$test" --nocapture --test-threads=1)
    done
}

sanitizer() {
    say "compute-sanitizer, on an explanation of ResNet-18 at 32 x 32"
    local checker tool found log
    log=$(mktemp)
    checker=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
    if [ ! -x "$checker" ]; then
        echo "not on this machine: it comes with the CUDA toolkit (cuda-sanitizer-12-6 in JetPack 6)"
        return
    fi
    for tool in memcheck racecheck initcheck; do
        found=0
        ELUCID_CUDA_GRAPH=0 "$checker" --tool "$tool" --error-exitcode 9 \
            "$PROGRAM" bench --backend cuda --arch resnet18 --size 32 --runs 1 >"$log" 2>&1 || found=$?
        tail -n 3 "$log"
        if [ "$found" -ne 0 ]; then
            cat "$log" && exit "$found"
        fi
    done
    rm -f "$log"
}

timing() {
    say "times of kernels"
    local example=${CARGO_TARGET_DIR:-target}/$FOLDER/examples/timing memory
    if [ -n "$EMULATED" ]; then
        "$example" --depth 18 --width 4 --size 32 --memory keep --rounds 1
        return
    fi
    for memory in keep block; do
        "$example" --memory "$memory" --all
        "$example" --memory "$memory" --no-tensor-cores
        say "elucid bench, images copied and maps fetched"
        "$PROGRAM" bench --backend cuda --arch resnet50 --memory "$memory"
    done
}

[ $# -gt 0 ] || set -- machine doctor conformance sanitizer timing
for stage in "$@"; do
    case "$stage" in
        machine | doctor | conformance | sanitizer | timing) ;;
        *) echo "no stage $stage: machine, doctor, conformance, sanitizer, timing" >&2 && exit 2 ;;
    esac
done
build
look
for stage in "$@"; do "$stage"; done
say "done"
if [ -n "$EMULATED" ]; then echo "on an EMULATED device: no time above means anything"; fi
