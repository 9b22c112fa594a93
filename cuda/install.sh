#!/usr/bin/env bash
# Installs the C library that `cargo build --release` made: header, libraries, pkg-config and CMake files.
#
#     cuda/install.sh [--prefix DIR] [--libdir DIR] [--target TRIPLE] [--bare]
#
# PREFIX is /usr/local by default; DESTDIR is put before it, for packages. The tree can be moved. --target takes the libraries of a
# cross build (`cargo build --release --target TRIPLE`). --bare builds and installs libelucid-bare.a instead: the core alone, for
# boards without an operating system.
set -euo pipefail
from=$PWD
cd "$(dirname "$0")/.."

prefix=/usr/local libdir="" target="" bare=""
while [ $# -gt 0 ]; do
    case "$1" in
        --prefix) prefix=$2 && shift 2 ;;
        --libdir) libdir=$2 && shift 2 ;;
        --target) target=$2 && shift 2 ;;
        --bare) bare=1 && shift ;;
        *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    esac
done
libdir=${libdir:-$prefix/lib}
[ "${prefix#/}" != "$prefix" ] || prefix=$from/$prefix
[ "${libdir#/}" != "$libdir" ] || libdir=$from/$libdir
prefix=${prefix%/}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
major=${version%%.*}
built=${CARGO_TARGET_DIR:-target}${target:+/$target}
to_lib="${DESTDIR:-}$libdir" to_include="${DESTDIR:-}$prefix/include"
install -d "$to_lib" "$to_include"
install -m 644 core/include/elucid.h "$to_include"

if [ -n "$bare" ]; then
    cargo rustc --locked -p elucid-core --profile bare --features bare --crate-type staticlib ${target:+--target "$target"}
    install -m 644 "$built/bare/libelucid_core.a" "$to_lib/libelucid-bare.a"
    echo "installed $to_include/elucid.h and $to_lib/libelucid-bare.a"
    exit
fi

for name in libelucid.a libelucid.so; do
    if [ ! -e "$built/release/$name" ]; then
        echo "$built/release/$name is missing; make it: cargo build --release${target:+ --target $target}" >&2
        exit 1
    fi
done
install -m 644 "$built/release/libelucid.a" "$to_lib"
install -m 755 "$built/release/libelucid.so" "$to_lib/libelucid.so.$version"
ln -sf "libelucid.so.$version" "$to_lib/libelucid.so.$major"
ln -sf "libelucid.so.$major" "$to_lib/libelucid.so"

# Both find the folders from where they lie themselves, so that a tree can be moved; from a libdir outside the prefix only the libraries.
inside=${libdir#"$prefix"/} up=$prefix
if [ "$inside" != "$libdir" ]; then up=$(sed 's|[^/][^/]*|..|g' <<<"$inside"); fi
from_here() { case "$up" in ..*) echo "$1/$up" ;; *) echo "$up" ;; esac }
install -d "$to_lib/pkgconfig" "$to_lib/cmake/elucid"
cat >"$to_lib/pkgconfig/elucid.pc" <<END
prefix=$(from_here '${pcfiledir}/..')
libdir=\${pcfiledir}/..
includedir=\${prefix}/include

Name: elucid
Description: Which pixels made the network say that: LRP on the device
Version: $version
Cflags: -I\${includedir}
Libs: -L\${libdir} -lelucid
Libs.private: -lpthread -ldl -lm
END
cat >"$to_lib/cmake/elucid/elucid-config.cmake" <<END
# find_package(elucid) gives elucid::elucid (shared) and elucid::static.
# (The real path: where /lib is a link to /usr/lib, headers are not in /include.)
get_filename_component(_elucid_lib "\${CMAKE_CURRENT_LIST_DIR}/../.." REALPATH)
get_filename_component(_elucid_include "$(from_here '${_elucid_lib}')/include" ABSOLUTE)
if(NOT TARGET elucid::elucid)
  add_library(elucid::elucid SHARED IMPORTED)
  set_target_properties(elucid::elucid PROPERTIES
    IMPORTED_LOCATION "\${_elucid_lib}/libelucid.so.$version"
    IMPORTED_SONAME "libelucid.so.$major"
    INTERFACE_INCLUDE_DIRECTORIES "\${_elucid_include}")
endif()
if(NOT TARGET elucid::static)
  add_library(elucid::static STATIC IMPORTED)
  set_target_properties(elucid::static PROPERTIES
    IMPORTED_LOCATION "\${_elucid_lib}/libelucid.a"
    INTERFACE_INCLUDE_DIRECTORIES "\${_elucid_include}"
    INTERFACE_LINK_LIBRARIES "pthread;dl;m")
endif()
END
cat >"$to_lib/cmake/elucid/elucid-config-version.cmake" <<END
set(PACKAGE_VERSION "$version")
if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
  if(PACKAGE_FIND_VERSION STREQUAL PACKAGE_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
  endif()
endif()
END
echo "installed $to_include/elucid.h, $to_lib/libelucid.a, $to_lib/libelucid.so.$version, and files for pkg-config and CMake"
