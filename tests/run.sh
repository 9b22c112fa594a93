#!/usr/bin/env bash
# The test command: installs what the tests need besides rustup's toolchain and a C compiler, then runs everything.
# `tests/run.sh STAGE...` runs some stages only.
set -euo pipefail
cd "$(dirname "$0")/.."

# Packages of features that must build, for every crate that has some.
CORE_FEATURES=("" "std" "log" "defmt" "std,log")

say() { printf '\n== %s\n' "$*"; }

install() {
    say "libclang, for bindgen"
    if ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* >/dev/null 2>&1 || [ -n "${LIBCLANG_PATH:-}" ]; then
        echo "found"
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "libclang is missing; install it (Debian: libclang-dev, Fedora: clang-devel) or set LIBCLANG_PATH" >&2
        exit 1
    fi
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libclang-dev
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
