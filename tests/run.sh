#!/usr/bin/env bash
# The test command: installs what the tests need besides rustup's toolchain and a C and C++ compiler, then runs everything.
# `tests/run.sh STAGE...` runs some stages only.
set -euo pipefail
cd "$(dirname "$0")/.."

# Packages of features that must build, for every crate that has some.
CORE_FEATURES=("" "transformer" "std" "log" "defmt" "std,log" "capi" "std,capi" "bare")

AARCH64=aarch64-unknown-linux-gnu
AARCH64_ROOT=/usr/aarch64-linux-gnu
DEBIAN_LIBRARIES=/usr/lib/x86_64-linux-gnu
CROSS=target/aarch64/$AARCH64/emulated
THUMB=thumbv7em-none-eabihf

# CUDA's run-time compiler, the newest that knows Nano and Xavier, and its disassembler.
NVIDIA=target/nvidia
NVIDIA_WHEELS=(nvidia-cuda-nvrtc-cu12==12.9.86 nvidia-cuda-nvdisasm==13.5.37)

say() { printf '\n== %s\n' "$*"; }

# Installs Debian packages, as root or by sudo.
packages() {
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

# Says why a stage can't run here.
skip() { printf '\n!! STAGE SKIPPED: %s: %s\n' "$1" "$2" >&2; }

# The same for tools that couldn't be had. In CI, where there is apt-get, that's an error.
lack() {
    skip "$@"
    if [ "${CI:-}" = true ] && command -v apt-get >/dev/null; then exit 1; fi
}

install() {
    say "libclang, for bindgen, and valgrind, CMake and pkg-config, for the C programs"
    local found="${LIBCLANG_PATH:-}" pattern tool missing=()
    for pattern in /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu /usr/lib /usr/lib64 /usr/local/lib; do
        found+=$(compgen -G "$pattern/libclang.so*" || true)$(compgen -G "$pattern/libclang-[0-9]*.so*" || true)
    done
    for tool in valgrind cmake pkg-config; do command -v "$tool" >/dev/null || missing+=("$tool"); done
    if [ ${#missing[@]} -gt 0 ] && [ "$(uname -s)" = Linux ] && command -v apt-get >/dev/null; then
        packages "${missing[@]}" || true # The tests say themselves what is missing.
    fi
    if [ -n "$found" ] && command -v c++ >/dev/null; then
        echo "found"
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "libclang or a C++ compiler is missing; install them (Debian: libclang-dev g++, Fedora: clang-devel gcc-c++)" >&2
        exit 1
    fi
    packages libclang-dev g++
}

style() {
    say "format"
    cargo fmt --all --check
    say "lints"
    cargo clippy --workspace --all-targets --quiet -- -D warnings
    say "documentation"
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
}

features() {
    for features in "${CORE_FEATURES[@]}"; do
        say "core with features: ${features:-none}"
        cargo check --quiet -p elucid-core --features "$features"
    done
}

# What compiles the CUDA kernels and takes them apart: tests that lack it say that they were skipped. Neither needs a GPU or a
# driver; they are installed for the tests only.
nvidia() {
    local compiler="$PWD/$NVIDIA/nvidia/cuda_nvrtc/lib/libnvrtc.so.12" disassembler="$PWD/$NVIDIA/nvidia/cu13/bin/nvdisasm"
    [ -z "${ELUCID_NVRTC:-}" ] || return 0
    say "NVRTC and nvdisasm, for the CUDA kernels"
    if [ "$(uname -sm)" != "Linux x86_64" ]; then
        skip nvidia "it needs x86-64 Linux; elsewhere name the toolkit's by ELUCID_NVRTC and ELUCID_NVDISASM"
        return 0
    fi
    if ! [ -e "$compiler" ] || ! [ -x "$disassembler" ] || [ "$(cat "$NVIDIA/wheels" 2>/dev/null)" != "${NVIDIA_WHEELS[*]}" ]; then
        if ! python3 -m pip --version >/dev/null 2>&1 && command -v apt-get >/dev/null; then
            packages python3-pip || true
        fi
        rm -rf "$NVIDIA"
        if ! PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps \
            --target "$NVIDIA" "${NVIDIA_WHEELS[@]}"; then
            lack nvidia "pip couldn't install ${NVIDIA_WHEELS[*]}: name the toolkit's by ELUCID_NVRTC and ELUCID_NVDISASM"
            return 0
        fi
        echo "${NVIDIA_WHEELS[*]}" >"$NVIDIA/wheels"
    fi
    echo "found"
    export ELUCID_NVRTC=$compiler ELUCID_NVDISASM=$disassembler
}

tests() (
    say "program"
    cargo build --release --quiet
    nvidia
    say "tests"
    cargo test --workspace
)

# For the page of a report: without one, its tests say that they were skipped.
browser() {
    say "Chromium, for reports"
    if [ -n "${ELUCID_BROWSER:-}" ] || command -v chromium chromium-browser google-chrome google-chrome-stable; then return; fi
    if ! command -v apt-get >/dev/null || ! packages chromium; then
        lack browser "there is no Chromium: install one, or name it by ELUCID_BROWSER"
    fi
}

# What the emulated tests need besides Rust: a C++ compiler and a C library for the target, and the emulator.
cross_tools() {
    command -v aarch64-linux-gnu-g++ && command -v qemu-aarch64 && [ -e "$AARCH64_ROOT/lib/libc.so.6" ]
} >/dev/null

# Debian's compiler with the standard library of arm64, unpacked into a folder: rustup's toolchain stays as it is. Prints its
# version.
debian_rust() {
    local root=$1 work="$1.part" names
    [ -x "$root/usr/bin/rustc" ] && LD_LIBRARY_PATH=$root$DEBIAN_LIBRARIES "$root/usr/bin/rustc" --version && return
    rm -rf "$root" "$work"
    mkdir -p "$work"/{lists,cache/archives}/partial "$work"/{debs,root}
    # Lists of our own: the system needs no second architecture for this.
    local apt=(-qq -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root)
    apt+=(-o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache")
    apt-get "${apt[@]}" update >&2 || return
    names=$(apt-get "${apt[@]}" install -s --no-install-recommends rustc-web | awk '/^Inst/ { print $2 }') || return
    # shellcheck disable=SC2086
    (cd "$work/debs" && apt-get "${apt[@]}" download $names libstd-rust-web-dev:arm64 >&2) || return
    for package in "$work"/debs/*.deb; do dpkg -x "$package" "$work/root" || return; done
    mv "$work/root" "$root" && rm -rf "$work"
    LD_LIBRARY_PATH=$root$DEBIAN_LIBRARIES "$root/usr/bin/rustc" --version
}

# What a build for aarch64 and its emulation need, for a stage: tools, and variables for cargo. Fails where they can't be had, and says why.
cross() {
    case "$(uname -sm)" in
        "Linux aarch64") echo "$1: this machine is one: the stage tests has run its code" && return 1 ;;
        "Linux x86_64") ;;
        *) skip "$1" "it needs x86-64 Linux" && return 1 ;;
    esac
    if ! cross_tools; then
        if ! command -v apt-get >/dev/null; then
            lack "$1" "it needs aarch64-linux-gnu-g++, a C library in $AARCH64_ROOT and qemu-aarch64; install them"
            return 1
        fi
        if ! packages g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; then
            lack "$1" "apt-get couldn't install g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; see above"
            return 1
        fi
    fi
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$AARCH64/lib" ]; then
        local rust="$PWD/target/debian-rust" version least
        if ! command -v apt-get >/dev/null || ! version=$(debian_rust "$rust"); then
            lack "$1" "no standard library for it: rustup target add $AARCH64"
            return 1
        fi
        least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
        if ! printf '%s\n' "rustc $least" "$version" | sort -V -C; then
            lack "$1" "Debian's $version is older than $least: rustup target add $AARCH64"
            return 1
        fi
        echo "$1: with Debian's $version"
        export RUSTC="$rust/usr/bin/rustc" LD_LIBRARY_PATH="$rust$DEBIAN_LIBRARIES"
    fi
    unset ELUCID_NVRTC ELUCID_NVDISASM # they are this machine's
    export CARGO_TARGET_DIR=target/aarch64
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L $AARCH64_ROOT"
    export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
}

# The C library for this machine.
library() {
    env -u RUSTC -u LD_LIBRARY_PATH CARGO_TARGET_DIR=target cargo build --release --quiet -p elucid-cuda
}

# A C or C++ program of tests/c, for this machine or for aarch64, linked statically or dynamically against the library that was built:
# `c_program native|static|dynamic SOURCE [FLAG...]` prints where it lies.
c_program() {
    local how=$1 source=$2 folder=target/c-programs compiler=(cc -std=c99) prefix="" libraries=(target/release/libelucid.a)
    shift 2
    [ "${source##*.}" = c ] || compiler=(c++ -std=c++17)
    case "$how" in
        static) prefix=aarch64-linux-gnu- libraries=("$CROSS/libelucid.a") ;;
        dynamic) prefix=aarch64-linux-gnu- libraries=(-L "$CROSS" -lelucid) ;;
    esac
    [ -z "$prefix" ] || compiler[0]=$([ "${compiler[0]}" = cc ] && echo "${prefix}gcc" || echo "${prefix}g++")
    mkdir -p "$folder"
    "${compiler[@]}" -O1 -Wall -Wextra -Werror -pedantic -I core/include "$@" "tests/c/$source" -o "$folder/$source-$how" \
        "${libraries[@]}" -lpthread -ldl -lm
    echo "$folder/$source-$how"
}

# Runs a program for aarch64.
emulated() { qemu-aarch64 -L "$AARCH64_ROOT" -E "LD_LIBRARY_PATH=$CROSS" "$@"; }

# The C example for aarch64, linked both ways: the map is that of this machine, bit for bit (both fuse multiply and add).
c_example() (
    cross c_example || return 0
    library
    cargo build --locked --quiet --profile emulated --target "$AARCH64" -p elucid-cuda
    local at=target/c-programs link
    mkdir -p "$at"
    head -c 8601 host/demo/flowers.elucid >"$at/frame.rgb" # 61 x 47 pixels of something
    local arguments=(tests/firmware/model/flowers32.elucid 61 47 "$at/frame.rgb")
    "$(c_program native example.c)" "${arguments[@]}" "$at/native.f32" "$at/native.rgba" >/dev/null
    for link in static dynamic; do
        emulated "$(c_program "$link" example.c)" "${arguments[@]}" "$at/$link.f32" "$at/$link.rgba" >"$at/$link.txt"
        if grep -qw avx2 /proc/cpuinfo; then cmp "$at/native.f32" "$at/$link.f32"; fi
        grep -q "balances 1" "$at/$link.txt"
        echo "C example, $link: $(grep class "$at/$link.txt")"
    done
)

# The other programs for aarch64: misuse, stack and allocations, a stream, and C++ with threads.
c_programs() (
    cross c_programs || return 0
    library
    cargo build --locked --quiet --profile emulated --target "$AARCH64" -p elucid-cuda
    local at=target/c-programs model=tests/firmware/model/flowers32.elucid link wrapped=() name
    mkdir -p "$at"
    head -c 8601 host/demo/flowers.elucid >"$at/frame.rgb"
    cat "$at"/frame.rgb{,,} >"$at/frames.rgb"
    "$(c_program native stream.c)" "$model" rgb 61 47 2 <"$at/frames.rgb" >"$at/native.stream" 2>/dev/null
    "$(c_program native example.cpp)" "$model" 61 47 "$at/frame.rgb" >"$at/native.txt"
    for link in static dynamic; do
        emulated "$(c_program "$link" misuse.c)" "$model" >"$at/$link.txt" || { cat "$at/$link.txt" && exit 1; }
        echo "misuse.c, $link: $(tail -n 1 "$at/$link.txt")"
        emulated "$(c_program "$link" stream.c)" "$model" rgb 61 47 2 <"$at/frames.rgb" >"$at/$link.stream" 2>"$at/$link.txt"
        [ "$(wc -c <"$at/$link.stream")" -eq $((3 * 4 * 61 * 47)) ]
        emulated "$(c_program "$link" example.cpp)" "$model" 61 47 "$at/frame.rgb" >"$at/$link.txt"
        if grep -qw avx2 /proc/cpuinfo; then
            cmp "$at/native.stream" "$at/$link.stream"
            diff "$at/native.txt" "$at/$link.txt"
        fi
        echo "stream.c and example.cpp, $link: $(cat "$at/$link.txt")"
    done
    for name in malloc calloc realloc aligned_alloc posix_memalign free; do wrapped+=("-Wl,--wrap=$name"); done
    emulated "$(c_program static limits.c "${wrapped[@]}")" "$model" >"$at/limits.txt"
    echo "limits.c: $(grep -E '^[a-z]' "$at/limits.txt" | paste -sd ' ')"
    awk '
        { is[$1] = $2 }
        END { exit !(is["measured"] > 0 && is["calls"] > 0 && is["allocations"] == "0" && is["stack"] > 0 &&
            is["stack"] <= 16 * 1024 && is["worker"] > 0 && is["worker"] <= 16 * 1024) }' "$at/limits.txt"
)

aarch64() (
    say "aarch64, under emulation"
    cross aarch64 || return 0
    local test=(cargo test --locked --quiet --profile emulated --target "$AARCH64")
    "${test[@]}" -p elucid-core --features std --lib
    "${test[@]}" -p elucid-tests --test golden --test kernels
    "${test[@]}" -p elucid-emulator --test kernels --test split_collect
    local skipped=(memory_modes_and_threads_give_the_same_bits an_explainer_has_no_memory_of_earlier_images)
    skipped+=(a_batch_is_its_maps_one_by_one any_graph_conserves_whatever_is_kept)
    "${test[@]}" -p elucid-tests --test conformance --test properties --test batch --test graphs -- "${skipped[@]/#/--skip=}"
    c_example
    c_programs
    echo "left out, since they take minutes under emulation and ask nothing of the instruction set that the others don't:"
    printf '  %s\n' "${skipped[@]}"
    echo "left out, since they start programs or have nothing to do with the CPU: the other files of tests/"
)

# Debian's source of the core library, beside its compiler, to build it for the board.
debian_source() {
    local root=$1 work="$1.source"
    [ -e "$root/usr/lib/rustlib/src/rust/library/core/src/lib.rs" ] && return
    rm -rf "$work" && mkdir -p "$work"
    (cd "$work" && apt-get download -qq rust-web-src >&2) || return
    for package in "$work"/*.deb; do
        dpkg --fsys-tarfile "$package" |
            tar x -C "$root" --wildcards './usr/lib/rustlib/src/rust' './usr/src/rustc-*/library/*' || return
    done
    rm -rf "$work"
}

# Runs a firmware on the emulated board; what it prints goes to output.txt in the current folder.
board() {
    timeout 120 qemu-system-arm -M mps2-an386 -cpu cortex-m4 -nographic -monitor none -serial none \
        -semihosting-config enable=on,target=native -kernel "$1" >output.txt 2>&1
}

firmware() (
    say "firmware, on an emulated Cortex-M4F"
    if ! command -v qemu-system-arm >/dev/null && ! { command -v apt-get >/dev/null && packages qemu-system-arm; }; then
        lack firmware "it needs qemu-system-arm; install it"
        return
    fi
    local build=(cargo build --quiet --release --target "$THUMB") host linker
    host=$(rustc -vV | sed -n 's/^host: //p')
    linker=$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-lld
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$THUMB/lib" ]; then
        local rust="$PWD/target/debian-rust"
        if [ "$(uname -sm)" != "Linux x86_64" ] || ! command -v apt-get >/dev/null || ! debian_rust "$rust" || ! debian_source "$rust"; then
            lack firmware "no core library for it: rustup target add $THUMB"
            return
        fi
        build+=(-Zbuild-std=core)
        export RUSTC="$rust/usr/bin/rustc" LD_LIBRARY_PATH="$rust$DEBIAN_LIBRARIES" RUSTC_BOOTSTRAP=1
    fi
    export CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER=$linker
    export CARGO_TARGET_THUMBV7EM_NONE_EABIHF_RUSTFLAGS="-Clinker-flavor=ld.lld -Ctarget-cpu=cortex-m4"
    local at="$PWD/target/firmware" elf
    cp Cargo.lock tests/firmware/Cargo.lock
    elf="$at/$THUMB/release/firmware"
    mkdir -p "$at/run" && rm -f "$at"/run/*
    (cd tests/firmware && "${build[@]}" --target-dir "$at") || exit
    (cd "$at/run" && board "$elf"; status=$?; cat output.txt; exit "$status") || exit
    {
        echo "what,bytes"
        echo "flash,$(size -A "$elf" | awk '/^\.(vectors|text|rodata|data) / { n += $2 } END { print n }')"
        echo "payload,$(size -A "$elf" | awk '/^\.payload / { print $2 }')"
        echo "ram,$(size -A "$elf" | awk '/^\.(data|bss) / { n += $2 } END { print n }')"
        echo "stack,$(sed -n 's/^stack, bytes //p' "$at/run/output.txt")"
    } >"$at/run/sizes.csv"
    awk -F, '
        FNR == 1 { next }
        NR == FNR { pin[$1] = $2; next }
        {
            if ($2 <= 0 || !pin[$1]) { print $1 ": was not measured, or has no pin" | "cat >&2"; bad = 1; next }
            seen++
            off = 100 * ($2 / pin[$1] - 1)
            printf "%-8s %7d bytes %+6.2f %%\n", $1, $2, off
            # The payload is data: it is as large as its files.
            if (off > 2 && $1 != "payload") { printf "%s: %.2f %% more than its pin in tests/firmware/sizes.csv; mend it, or pin it anew\n", $1, off | "cat >&2"; bad = 1 }
            if ($1 == "flash" && $2 > 96 * 1024 || $1 == "stack" && $2 > 16 * 1024) { print $1 ": more than promised" | "cat >&2"; bad = 1 }
        }
        END { exit bad || seen != 4 }' tests/firmware/sizes.csv "$at/run/sizes.csv" || exit

    say "firmware, logging through defmt"
    (cd tests/firmware && DEFMT_LOG=debug "${build[@]}" --target-dir "$at" --features defmt) || exit
    cp "$elf" "$at/run/firmware.elf"
    (cd "$at/run" && board "$elf") || exit
    unset RUSTC LD_LIBRARY_PATH RUSTC_BOOTSTRAP
    ELUCID_FIRMWARE="$at/run" cargo test --quiet -p elucid-tests --test firmware
)

# Instructions of an inference and of an explanation (`architecture,memory,inference,explanation`), counted while a network
# with random weights runs: the same on every machine whose CPU has AVX2. Valgrind hides AVX-512.
count() {
    local work="target/instructions/$1-$2"
    valgrind --tool=callgrind --compress-strings=no --callgrind-out-file="$work.out" \
        target/release/elucid bench --arch "$1" --memory "$2" --size 32 --runs 1 --json >"$work.json" 2>"$work.log" || return
    awk -v name="$1,$2" '
        /^cfn=/ { of = /explain::Explainer<.*::forward$/ ? "f" : /explain::Explainer<.*::explain_maps$/ ? "e" : "" }
        /^calls=/ && of { split($1, word, "="); getline; calls[of] += word[2]; cost[of] += $2; of = "" }
        END {
            if (!calls["f"] || !calls["e"]) exit 1
            printf "%s,%.0f,%.0f\n", name, cost["f"] / calls["f"], cost["e"] / calls["e"]
        }' "$work.out" >"$work.csv"
}

# Whether a stage can count instructions here; says why it can't.
countable() {
    if [ "$(uname -sm)" != "Linux x86_64" ] || ! grep -qw avx2 /proc/cpuinfo; then
        skip "$1" "what it compares with is for AVX2 on Linux"
        return 1
    fi
    if ! command -v valgrind >/dev/null && ! { command -v apt-get >/dev/null && packages valgrind; }; then
        lack "$1" "valgrind is missing; install it"
        return 1
    fi
}

# Counts all cases of the pins at once, into target/instructions/counts.csv. Fails where that is impossible.
counts() {
    countable instructions || return 1
    cargo build --release --quiet || exit
    local work=target/instructions jobs=() architecture memory rest
    rm -rf "$work" && mkdir -p "$work"
    while IFS=, read -r architecture memory rest; do
        count "$architecture" "$memory" &
        jobs+=($!)
    done < <(tail -n +2 tests/instructions.csv)
    for job in "${jobs[@]}"; do
        wait "$job" || { echo "callgrind counted nothing; see $work/*.log" >&2 && exit 1; }
    done
    { head -n 1 tests/instructions.csv && cat "$work"/*-*.csv; } >"$work/counts.csv"
}

instructions() {
    say "instructions"
    counts || return 0
    c_call
    awk -F, '
        FNR == 1 { next }
        NR == FNR { pin[$1, $2, 3] = $3; pin[$1, $2, 4] = $4; next }
        { for (i = 3; i <= 4; i++) {
            off = 100 * ($i / pin[$1, $2, i] - 1)
            what = sprintf("%s, %s, %s", $1, $2, i == 3 ? "inference" : "explanation")
            printf "%-34s %12d %+7.2f %%\n", what, $i, off
            if (off > 1) {
                printf "%s: %.2f %% more instructions than its pin; mend it, or: tests/run.sh pin\n", what, off | "cat >&2"
                bad = 1
            } else if (off < -3)
                printf "warning: %s: %.2f %% fewer instructions than its pin; lower it: tests/run.sh pin\n", what, -off
        } }
        END { exit bad }' tests/instructions.csv target/instructions/counts.csv
}

# What the C interface adds to an explanation: at most 1 % of the instructions that it takes in Rust. An upper bound: what the compiler
# moved from Rust's explainer into the C function counts as C's.
c_call() {
    countable c_call || return 0
    library
    local work=target/instructions/c-call
    mkdir -p target/instructions
    cc -std=c99 -O1 -I core/include tests/c/call.c -o "$work" target/release/libelucid.a -lpthread -ldl -lm
    valgrind --tool=callgrind --compress-strings=no --callgrind-out-file="$work.out" "$work" tests/firmware/model/flowers32.elucid 2>"$work.log"
    awk '
        /^fn=/ { inside = /=elucid_explain$|=elucid_core::ffi::forward$/; next }
        inside && /^cfn=/ { of = /Backend>::|explain::Explainer/ ? "rust" : /=elucid_core::ffi::forward$/ ? "none" : "other" }
        inside && /^calls=/ { getline; cost[of] += $2; next }
        inside && /^[0-9+*-]/ { cost["self"] += $2 }
        END {
            if (!cost["rust"]) { print "callgrind counted nothing" | "cat >&2"; exit 1 }
            more = 100 * (cost["self"] + cost["other"]) / cost["rust"]
            printf "a call from C: %.0f instructions, %.4f %% more than in Rust\n", cost["self"] + cost["other"] + cost["rust"], more
            exit more > 1
        }' "$work.out"
}

# Not among the stages that run by default: takes the counts of this working tree as the new pins.
pin() {
    say "new pins"
    counts || exit 1
    cp target/instructions/counts.csv tests/instructions.csv
    cat tests/instructions.csv
}

# Not among them either: takes the registers that the kernels need now, and some more, as their most.
pin_kernels() (
    nvidia
    [ -n "${ELUCID_NVRTC:-}" ] || exit 1
    say "new pins of registers"
    ELUCID_PIN_KERNELS=1 cargo test --quiet -p elucid-tests --test kernels
    git diff --stat -- tests/kernels.csv
)

stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(install browser style features tests aarch64 firmware instructions)
for stage in "${stages[@]}"; do "$stage"; done
say "all stages passed: ${stages[*]}"
