//! Builds the proof, looks into its archive and runs it: what `tests/no_std.rs` and `tests/defmt.rs` have in common.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use elucid_core::arch::resnet::Resnet;
use elucid_host::import::{Options, import};
use elucid_host::{preprocess, synthetic};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol};

/// Most bytes of stack that an explanation may take.
pub const STACK: usize = 16 * 1024;

/// All that a board must bring: memory functions, and what the proof itself asks for.
const BOARD: [&str; 7] = [
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "bcmp",
    "board_panic",
    "board_write",
];

/// A built proof.
pub struct Proof {
    archive: PathBuf,
    program: PathBuf,
    folder: PathBuf,
}

/// What a run of it said.
pub struct Answer {
    /// What `elucid_proof` returned.
    pub class: i32,
    /// Bytes of stack.
    pub stack: usize,
    /// What arrived through defmt.
    pub log: Vec<u8>,
    /// The map.
    pub map: Vec<f32>,
}

type Names = BTreeSet<String>;

/// The symbols of an object in the archive.
struct Member {
    defined: Names,
    wanted: Names,
}

impl Member {
    /// `None` for what isn't an object.
    fn read(bytes: &[u8]) -> Option<Self> {
        let file = object::File::parse(bytes).ok()?;
        let names = |undefined: bool| {
            file.symbols()
                .filter(|s| s.is_undefined() == undefined)
                .map(|s| s.name().unwrap().to_owned())
                .filter(|name| !name.is_empty())
                .collect()
        };
        Some(Self {
            defined: names(false),
            wanted: names(true),
        })
    }
}

impl Proof {
    /// Compiles the crate with these features and links it with `main.c`.
    pub fn build(name: &str, features: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("proof");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        // The versions that everything else is built with.
        fs::copy(source.join("../../Cargo.lock"), source.join("Cargo.lock")).unwrap();
        run(Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["build", "--release", "--quiet", "--features", features])
            .arg("--manifest-path")
            .arg(source.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&folder)
            // Log lines of every level, and nothing that would choose another target or instruction set.
            .env("DEFMT_LOG", "debug")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_BUILD_TARGET"));
        let (archive, program) = (folder.join("release/libproof.a"), folder.join("board"));
        run(Command::new(env::var_os("CC").unwrap_or("cc".into()))
            .args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"])
            .arg(source.join("main.c"))
            .arg(&archive)
            .arg("-o")
            .arg(&program));
        Self {
            archive,
            program,
            folder,
        }
    }

    /// Asserts that nothing of std or alloc is in the archive, and that what a linker takes out of it for
    /// `elucid_proof` asks for nothing but [`BOARD`].
    ///
    /// The `object` crate reads it, not `nm`: that of binutils fails on the bitcode in Rust's archives where LLVM's
    /// plugin is installed.
    pub fn assert_bare(&self) {
        let data = fs::read(&self.archive).unwrap();
        let mut members: Vec<Member> = ArchiveFile::parse(&*data)
            .unwrap()
            .members()
            .filter_map(|member| Member::read(member.unwrap().data(&*data).unwrap()))
            .collect();
        for name in members.iter().flat_map(|m| m.defined.union(&m.wanted)) {
            assert!(!hosted(name), "{name} is of std or alloc");
        }
        let (mut defined, mut wanted) = (Names::new(), Names::from(["elucid_proof".to_owned()]));
        while let Some(at) = members.iter().position(|m| {
            let mut missing = wanted.difference(&defined);
            missing.any(|name| m.defined.contains(name))
        }) {
            let member = members.swap_remove(at);
            defined.extend(member.defined);
            wanted.extend(member.wanted);
        }
        let missing: Vec<_> = wanted
            .difference(&defined)
            .filter(|name| !BOARD.contains(&name.as_str()))
            .collect();
        assert!(missing.is_empty(), "a board doesn't have {missing:?}");
    }

    /// Explains an image `[height, width, 3]` on the board.
    pub fn explain(&self, model: &[u8], image: &[f32], (height, width): (u32, u32)) -> Answer {
        let at = |name: &str| self.folder.join(name);
        fs::write(at("model"), model).unwrap();
        let pixels: Vec<u8> = image.iter().flat_map(|v| v.to_ne_bytes()).collect();
        fs::write(at("image"), pixels).unwrap();
        let said = run(Command::new(&self.program)
            .args([at("model"), at("image")])
            .args([height.to_string(), width.to_string()])
            .arg(at("map")));
        let said_of = |what: &str| {
            let mut lines = said.lines();
            lines.find_map(|line| line.strip_prefix(what)?.strip_prefix(' '))
        };
        let hex = said_of("log").unwrap_or_default();
        let map = fs::read(at("map")).unwrap();
        Answer {
            class: said_of("class").unwrap().parse().unwrap(),
            stack: said_of("stack").unwrap().parse().unwrap(),
            log: (0..hex.len() / 2)
                .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
                .collect(),
            map: map
                .as_chunks()
                .0
                .iter()
                .map(|&bytes| f32::from_ne_bytes(bytes))
                .collect(),
        }
    }
}

/// Whether a mangled name (legacy or v0) is one of std's, alloc's or the allocator's.
pub fn hosted(name: &str) -> bool {
    // In v0 names too: `_RNvCs.._7___rustc12___rust_alloc`.
    const ALLOCATOR: [&str; 5] = [
        "__rust_alloc",
        "__rust_dealloc",
        "__rust_realloc",
        "__rust_no_alloc",
        "__rg_",
    ];
    // A path of std, and `<std::..` or `<alloc::..` of an impl.
    const LEGACY: [&str; 4] = ["_ZN3std", "_ZN5alloc", "$LT$std..", "$LT$alloc.."];
    // A crate's root: `C`, perhaps `s`, a hash and `_`, then the length and the name.
    const V0: [&str; 4] = ["C3std", "C5alloc", "_3std", "_5alloc"];
    ALLOCATOR.iter().any(|part| name.contains(part))
        || LEGACY.iter().any(|part| name.contains(part))
        || (name.starts_with("_R") && V0.iter().any(|part| name.contains(part)))
}

/// A network with random weights as a model file.
pub fn model(net: &Resnet, half: bool) -> Vec<u8> {
    let options = Options {
        bn_eps: 1e-5,
        half,
        preprocess: preprocess::find(Some("unit"), net).unwrap(),
        classes: Vec::new(),
    };
    import(&synthetic::checkpoint(net, 7).unwrap(), net, &options).unwrap()
}

/// What a command prints, once it succeeded.
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out.into_owned()
}
