#!/usr/bin/env bash
# The test command: installs what the tests need besides rustup's toolchain and a C and C++ compiler, then runs everything.
# `tests/run.sh STAGE...` runs some stages only.
set -euo pipefail
cd "$(dirname "$0")/.."

# Packages of features that must build, for every crate that has some.
CORE_FEATURES=("" "std" "log" "defmt" "std,log")

say() { printf '\n== %s\n' "$*"; }

install() {
    say "libclang, for bindgen"
    local found="${LIBCLANG_PATH:-}" pattern
    for pattern in /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu /usr/lib /usr/lib64 /usr/local/lib; do
        found+=$(compgen -G "$pattern/libclang.so*" || true)$(compgen -G "$pattern/libclang-[0-9]*.so*" || true)
    done
    if [ -n "$found" ] && command -v c++ >/dev/null; then
        echo "found"
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "libclang or a C++ compiler is missing; install them (Debian: libclang-dev g++, Fedora: clang-devel gcc-c++)" >&2
        exit 1
    fi
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libclang-dev g++
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

tests() {
    say "program"
    cargo build --release --quiet
    say "tests"
    cargo test --workspace
}

stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(install style features tests)
for stage in "${stages[@]}"; do "$stage"; done
say "all stages passed: ${stages[*]}"
