//! The C library, and programs built against it by the system's compilers.
#![allow(dead_code)] // No test uses all of it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// A trained network for 32 x 32 pixels.
pub const MODEL: &str = "firmware/model/flowers32.elucid";
/// A frame that must be resized and cropped.
pub const SIZE: (u32, u32) = (61, 47);

/// A path below `tests`.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folder with the release's libraries: built now, unless they are there, or the folder that ELUCID_LIBRARIES names.
pub static RELEASE: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(folder) = env::var_os("ELUCID_LIBRARIES") {
        return folder.into();
    }
    let root = here("..");
    run(Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .current_dir(&root)
        .args(["build", "--release", "--quiet"])
        .env_remove("CARGO_BUILD_TARGET"));
    let target = env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), |t| root.join(t));
    let release = target.join("release");
    for name in ["libelucid.a", "libelucid.so", "libelucid.so.0"] {
        assert!(release.join(name).exists(), "cargo build made no {name}");
    }
    release
});

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// `libelucid.a`.
    Static,
    /// `libelucid.so`.
    Dynamic,
}

/// What the static library asks of the system.
pub const SYSTEM: [&str; 3] = ["-lpthread", "-ldl", "-lm"];

/// Compiles `tests/c/SOURCE` and returns the program.
pub fn compile(source: &str, link: Link, more: &[&str]) -> PathBuf {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("c");
    fs::create_dir_all(&place).unwrap();
    let tag: String = more
        .iter()
        .flat_map(|m| m.chars().filter(|c| c.is_alphanumeric()))
        .take(24)
        .collect();
    let program = place.join(format!("{}-{link:?}-{tag}", source.replace('.', "-")));
    let cpp = source.ends_with(".cpp");
    let (variable, default, standard) = if cpp {
        ("CXX", "c++", "-std=c++17")
    } else {
        ("CC", "cc", "-std=c99")
    };
    let mut command = Command::new(env::var_os(variable).unwrap_or(default.into()));
    command
        .args([
            standard,
            "-O1",
            "-g",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
        ])
        .arg("-I")
        .arg(here("../core/include"))
        .args(more)
        .arg(here("c").join(source))
        .arg("-o")
        .arg(&program);
    match link {
        Link::Static => command.arg(RELEASE.join("libelucid.a")),
        Link::Dynamic => {
            let mut rpath = OsString::from("-Wl,-rpath,");
            rpath.push(&*RELEASE);
            command.arg("-L").arg(&*RELEASE).arg("-lelucid").arg(rpath)
        }
    };
    run(command.args(SYSTEM));
    program
}

/// What a command printed, once it succeeded.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

/// What it printed on its standard output.
pub fn printed(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).unwrap()
}

/// Whether there is such a tool. In CI, that there is none is an error.
pub fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        assert!(env::var_os("CI").is_none(), "{tool} is missing; install it");
        println!("skipped: there is no {tool}");
    }
    found
}

/// A command that reports what is wrong with memory, or `None` where there is no valgrind.
pub fn valgrind(program: &Path) -> Option<Command> {
    if !have("valgrind") {
        return None;
    }
    let mut command = Command::new("valgrind");
    command
        .args([
            "--quiet",
            "--fair-sched=yes",
            "--leak-check=full",
            "--show-leak-kinds=definite,indirect,possible",
        ])
        .args([
            "--errors-for-leak-kinds=definite,indirect,possible",
            "--error-exitcode=99",
        ])
        .arg(program);
    Some(command)
}

/// Flags that have the compiler watch addresses and undefined behaviour.
pub const SANITIZED: [&str; 3] = [
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
];

/// A picture with structure, `SIZE` pixels of red, green and blue.
pub fn picture() -> Vec<u8> {
    let (w, h) = (SIZE.0 as usize, SIZE.1 as usize);
    (0..w * h)
        .flat_map(|i| {
            let (x, y) = (i % w, i / w);
            [
                (x * 4) as u8,
                (y * 5) as u8,
                ((x / 8 + y / 8) % 2 * 200) as u8,
            ]
        })
        .collect()
}

/// Writes a file among the programs.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("c");
    fs::create_dir_all(&place).unwrap();
    let path = place.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// The number after the last mention of a word.
pub fn number(text: &str, word: &str) -> f64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().rposition(|w| *w == word);
    let value = words[at.unwrap_or_else(|| panic!("no {word} in {text}")) + 1];
    value.parse().unwrap_or_else(|_| panic!("{word} {value}"))
}
