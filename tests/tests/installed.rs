//! What the libraries for C hold, and how they are installed.

#[path = "../proof/harness.rs"]
#[allow(dead_code)] // Only what it knows of names is used.
mod harness;
mod library;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use library::{MODEL, RELEASE, SIZE, have, here, number, picture, printed, run, write};

/// The core alone, as a board links it: nothing of the standard library or of an allocator is in it, and it works without them.
#[test]
fn the_bare_library_needs_nothing() {
    use object::read::archive::ArchiveFile;
    use object::{Object, ObjectSymbol};
    let prefix = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bare");
    run(Command::new(here("../cuda/install.sh"))
        .args(["--bare", "--prefix"])
        .arg(&prefix)
        .env_remove("CARGO_BUILD_TARGET"));
    let archive = prefix.join("lib/libelucid-bare.a");
    let data = fs::read(&archive).unwrap();
    for member in ArchiveFile::parse(&*data).unwrap().members() {
        let Ok(file) = object::File::parse(member.unwrap().data(&*data).unwrap()) else {
            continue;
        };
        for name in file
            .symbols()
            .filter_map(|s| s.name().ok().map(str::to_owned))
        {
            assert!(!harness::hosted(&name), "{name} is of std or alloc");
        }
    }
    let program = prefix.join("bare");
    run(Command::new(env::var_os("CC").unwrap_or("cc".into()))
        .args([
            "-std=c99",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-I",
        ])
        .arg(prefix.join("include"))
        .arg(here("c/bare.c"))
        // No libraries but C's own.
        .arg(&archive)
        .arg("-o")
        .arg(&program));
    let text = printed(Command::new(program).arg(here(MODEL)));
    assert_eq!(number(&text, "class"), 3.0, "{text}");
    let (sum, start) = (number(&text, "map"), number(&text, "relevance"));
    assert!((sum - start).abs() <= 1e-5 * start, "{text}");
}

/// Installs the library and moves it to where it wasn't installed to.
fn moved(name: &str, libdir: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (first, second) = (place.join("first"), place.join("second"));
    if place.exists() {
        fs::remove_dir_all(&place).unwrap();
    }
    assert!(RELEASE.ends_with("release"), "{}", RELEASE.display());
    run(Command::new(here("../cuda/install.sh"))
        .arg("--prefix")
        .arg(&first)
        .arg("--libdir")
        .arg(first.join(libdir))
        .env("CARGO_TARGET_DIR", RELEASE.parent().unwrap())
        .env_remove("DESTDIR"));
    fs::rename(first, &second).unwrap();
    second
}

/// Explains a picture with a program like `tests/c/example.c`.
fn explains(program: &Path, libraries: Option<&Path>) {
    let frame = write("frame-installed.rgb", &picture());
    let results = ["map", "overlay"].map(|name| write(&format!("{name}-installed"), &[]));
    let mut command = Command::new(program);
    command
        .arg(here(MODEL))
        .args([SIZE.0.to_string(), SIZE.1.to_string()])
        .arg(frame);
    if !program.ends_with("example_cpp") {
        command.args(results);
    }
    if let Some(folder) = libraries {
        command.env("LD_LIBRARY_PATH", folder);
    }
    assert!(number(&printed(&mut command), "relevance") > 0.0);
}

/// Folders of libraries, below the prefix.
const LIBDIRS: [&str; 2] = ["lib", "lib/some-triplet"];

#[test]
fn what_is_installed_can_be_moved_and_found_by_pkg_config() {
    if !have("pkg-config") {
        return;
    }
    for libdir in LIBDIRS {
        let prefix = moved("pkg-config", libdir);
        let folder = prefix.join(libdir);
        let say = |question: &str| {
            let mut command = Command::new("pkg-config");
            command.env("PKG_CONFIG_PATH", folder.join("pkgconfig"));
            printed(command.args(question.split(' ')).arg("elucid"))
        };
        assert_eq!(say("--modversion").trim(), env!("CARGO_PKG_VERSION"));
        let system = say("--static --libs");
        assert!(system.contains("-lpthread -ldl -lm"), "{system}");
        let program = prefix.join("example");
        run(Command::new(env::var_os("CC").unwrap_or("cc".into()))
            .arg(here("c/example.c"))
            .args(say("--cflags --libs").split_whitespace())
            .arg("-o")
            .arg(&program));
        explains(&program, Some(&folder));
    }
}

#[test]
fn what_is_installed_can_be_moved_and_found_by_cmake() {
    if !have("cmake") {
        return;
    }
    for libdir in LIBDIRS {
        let prefix = moved("cmake", libdir);
        let build = prefix.join("build");
        // Below a prefix CMake looks into this machine's own triplet only.
        let found = if libdir == "lib" {
            format!("-DCMAKE_PREFIX_PATH={}", prefix.display())
        } else {
            let config = prefix.join(libdir).join("cmake/elucid");
            format!("-Delucid_DIR={}", config.display())
        };
        run(Command::new("cmake")
            .arg("-S")
            .arg(here("c"))
            .arg("-B")
            .arg(&build)
            .arg(found));
        run(Command::new("cmake").arg("--build").arg(&build));
        explains(&build.join("example"), None);
        explains(&build.join("example_cpp"), None);
        assert!(build.join("stream").exists());
    }
}

#[test]
fn the_shared_library_exports_the_header_and_nothing_else() {
    use object::{Object, ObjectSymbol};
    let bytes = fs::read(RELEASE.join("libelucid.so")).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let mut exported: Vec<String> = file
        .dynamic_symbols()
        .filter(|s| s.is_definition())
        .map(|s| s.name().unwrap().to_owned())
        .collect();
    exported.sort();
    let header = include_str!("../../core/include/elucid.h");
    let mut declared: Vec<String> = header
        .lines()
        .filter(|l| {
            l.starts_with("elucid_status ")
                || l.starts_with("uint32_t ")
                || l.starts_with("const char *")
        })
        .filter_map(|l| l.split('(').next()?.split([' ', '*']).next_back())
        .map(str::to_owned)
        .collect();
    declared.sort();
    assert_eq!(exported, declared);
    // Nothing of the program or of training is in it.
    for foreign in ["candle", "rayon", "clap", "safetensors", "elucid_host"] {
        let archive = fs::read(RELEASE.join("libelucid.a")).unwrap();
        let found = archive
            .windows(foreign.len())
            .any(|w| w == foreign.as_bytes());
        assert!(!found, "{foreign} is in libelucid.a");
    }
}
