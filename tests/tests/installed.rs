//! What the libraries for C hold, and how they are installed.

#[path = "../proof/harness.rs"]
#[allow(dead_code)] // Only what it knows of names is used.
mod harness;
mod library;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use library::{MODEL, RELEASE, here, number, printed, run};

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
