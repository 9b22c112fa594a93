//! The C API as its users see it: the programs of `tests/c`, compiled by the system's compilers against `elucid.h` and what
//! `cargo build --release` leaves in the target folder, linked both ways, run plainly, under valgrind and with sanitizers.

#[path = "../proof/harness.rs"]
#[allow(dead_code)] // Only what it knows of names is used.
mod harness;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use elucid_core::frame::{Frame, Pixels, Plane, prepare};
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::simd::Isa;
use elucid_core::{Model, Shape};
use elucid_host::aligned::Aligned;
use elucid_host::engine::{Engine, Method, Threads};
use elucid_host::photo::Photo;

/// A trained network for 32 x 32 pixels.
const MODEL: &str = "firmware/model/flowers32.elucid";
/// A frame that must be resized and cropped.
const SIZE: (u32, u32) = (61, 47);
/// Most bytes of stack that a call may take.
const STACK: u64 = 16 * 1024;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folder with the release's libraries: built now, unless they are there, or the folder that ELUCID_LIBRARIES names.
static RELEASE: LazyLock<PathBuf> = LazyLock::new(|| {
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
enum Link {
    Static,
    Dynamic,
}

/// What the static library asks of the system.
const SYSTEM: [&str; 3] = ["-lpthread", "-ldl", "-lm"];

/// Compiles `tests/c/SOURCE` and returns the program.
fn compile(source: &str, link: Link, more: &[&str]) -> PathBuf {
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
fn run(command: &mut Command) -> Output {
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

fn printed(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).unwrap()
}

/// A command that reports what is wrong with memory, or `None` where there is no valgrind: an error in CI.
fn valgrind(program: &Path) -> Option<Command> {
    let mut command = Command::new("valgrind");
    if command.arg("--version").output().is_err() {
        assert!(
            env::var_os("CI").is_none(),
            "valgrind is missing; install it"
        );
        println!("skipped: there is no valgrind");
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

const SANITIZED: [&str; 3] = [
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
];

/// A picture with structure, `SIZE` pixels of red, green and blue.
fn picture() -> Vec<u8> {
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

fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("c");
    fs::create_dir_all(&place).unwrap();
    let path = place.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// The number after the last mention of a word.
fn number(text: &str, word: &str) -> f64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().rposition(|w| *w == word);
    let value = words[at.unwrap_or_else(|| panic!("no {word} in {text}")) + 1];
    value.parse().unwrap_or_else(|_| panic!("{word} {value}"))
}

#[test]
fn c_explains_as_rust_does_however_it_is_linked() {
    let frame = write("frame.rgb", &picture());
    let (map_at, overlay_at) = (write("map.f32", &[]), write("overlay.rgba", &[]));
    let with = |command: &mut Command| {
        fs::write(&map_at, []).unwrap();
        let text = printed(
            command
                .arg(here(MODEL))
                .args([SIZE.0.to_string(), SIZE.1.to_string()])
                .args([&frame, &map_at, &overlay_at]),
        );
        let bytes = fs::read(&map_at).unwrap();
        let map: Vec<f32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect();
        (text, map)
    };

    // In Rust, by the same core.
    let file = Aligned::copy_of(&fs::read(here(MODEL)).unwrap());
    let model = Model::parse(file.bytes()).unwrap();
    let pixels = picture();
    let data = Plane {
        data: &pixels[..],
        stride: 3 * SIZE.0 as usize,
    };
    let source = Frame::new(SIZE.0, SIZE.1, Pixels::Rgb8(data)).unwrap();
    let (mut input, mut line) = (vec![0.0; 32 * 32 * 3], vec![0.0; 3 * SIZE.0 as usize]);
    prepare(
        Isa::detect(),
        &source,
        &model.preprocess(),
        &mut input,
        &mut line,
    )
    .unwrap();
    let threads = Threads::new(1).unwrap();
    let mut engine = Engine::new(&model, &threads);
    let method = Method::new(Some(Composite::exact(Split::Ratio)));
    let mut explainer = engine.open(Shape::new(32, 32, 3), method).unwrap();
    let seed = explainer
        .explain(&input, Target::Predicted, Init::Probability, None)
        .unwrap();
    let mut want = vec![0.0; 32 * 32];
    explainer.heat(&mut want).unwrap();

    for link in [Link::Static, Link::Dynamic] {
        let program = compile("example.c", link, &[]);
        let (text, map) = with(&mut Command::new(&program));
        assert_eq!(map, want, "{link:?}");
        assert_eq!(number(&text, "class"), f64::from(seed.predicted), "{text}");
        assert!(
            text.contains("balances 1") && text.contains("gpu"),
            "{text}"
        );
        let overlay = fs::read(&overlay_at).unwrap();
        assert_eq!(overlay.len(), 4 * pixels.len() / 3);
        assert!(overlay.as_chunks::<4>().0.iter().all(|p| p[3] == 255));
        if let Some(mut valgrind) = valgrind(&program) {
            let (_, map) = with(&mut valgrind);
            // Valgrind hides AVX-512; all sets that fuse give the same bits.
            assert_eq!(map, want, "{link:?}, valgrind");
        }
        let (_, map) = with(&mut Command::new(compile("example.c", link, &SANITIZED)));
        assert_eq!(map, want, "{link:?}, sanitized");
    }
}

#[test]
fn cpp_has_explainers_and_threads_at_once() {
    let frame = write("frame-cpp.rgb", &picture());
    let arguments = |command: &mut Command| {
        let size = [SIZE.0.to_string(), SIZE.1.to_string()];
        printed(command.arg(here(MODEL)).args(size).arg(&frame))
    };
    for link in [Link::Static, Link::Dynamic] {
        let program = compile("example.cpp", link, &[]);
        let text = arguments(&mut Command::new(&program));
        let (sum, start) = (number(&text, "sum"), number(&text, "relevance"));
        assert!((sum - start).abs() <= 1e-5 * start, "{text}");
        arguments(&mut Command::new(compile("example.cpp", link, &SANITIZED)));
        // Under valgrind too, but once: it takes turns with the threads.
        if link == Link::Static
            && let Some(mut valgrind) = valgrind(&program)
        {
            // Valgrind runs one thread at a time, so few are enough.
            arguments(valgrind.env("ELUCID_EXPLAINERS", "2"));
        }
    }
    // Data races would be the library's own: it has no other thread.
    let tsan = ["-fsanitize=thread"];
    arguments(&mut Command::new(compile(
        "example.cpp",
        Link::Dynamic,
        &tsan,
    )));
}

#[test]
fn misuse_gets_status_codes_and_nothing_else() {
    let check = |command: &mut Command| {
        let text = printed(command.arg(here(MODEL)));
        assert!(
            text.ends_with(" passed, 0 failed\n") && number_before(&text) > 150,
            "{text}"
        );
    };
    let program = compile("misuse.c", Link::Static, &[]);
    check(&mut Command::new(&program));
    check(&mut Command::new(compile("misuse.c", Link::Dynamic, &[])));
    check(&mut Command::new(compile(
        "misuse.c",
        Link::Static,
        &SANITIZED,
    )));
    if let Some(mut valgrind) = valgrind(&program) {
        check(&mut valgrind);
    }
}

/// The number at the start of `N passed, ..`.
fn number_before(text: &str) -> u32 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn calls_allocate_nothing_and_take_little_stack() {
    let wrapped = [
        "malloc",
        "calloc",
        "realloc",
        "aligned_alloc",
        "posix_memalign",
        "free",
    ];
    let flags = wrapped.map(|name| format!("-Wl,--wrap={name}"));
    let program = compile(
        "limits.c",
        Link::Static,
        &flags.each_ref().map(String::as_str),
    );
    for model in [MODEL, "../host/demo/flowers.elucid"] {
        let text = printed(Command::new(&program).arg(here(model)));
        println!("{model}\n{text}");
        assert_eq!(number(&text, "allocations"), 0.0, "{text}");
        assert!(
            number(&text, "measured") > 0.0,
            "the counter counts nothing: {text}"
        );
        assert!(number(&text, "stack") <= STACK as f64, "{text}");
    }
}

#[test]
fn a_stream_is_explained_in_bounded_memory() {
    let program = compile("stream.c", Link::Dynamic, &[]);
    let rgb = picture();
    let peak = |frames: usize| {
        let mut child = Command::new("/usr/bin/env")
            .arg(&program)
            .arg(here(MODEL))
            .args(["rgb", &SIZE.0.to_string(), &SIZE.1.to_string(), "2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let feed = {
            let rgb = rgb.clone();
            std::thread::spawn(move || (0..frames).for_each(|_| input.write_all(&rgb).unwrap()))
        };
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{log}");
        assert_eq!(output.stdout.len(), frames * 4 * rgb.len() / 3);
        assert_eq!(
            log.matches("frame ").count(),
            frames.div_ceil(2) + 1,
            "{log}"
        );
        log.lines().next().unwrap().to_owned()
    };
    assert_eq!(peak(3), peak(40));
    let sanitized = compile("stream.c", Link::Static, &SANITIZED);
    let nv12 = vec![120u8; 61 * 47 + 31 * 24 * 2];
    let mut child = Command::new(sanitized)
        .arg(here(MODEL))
        .args(["nv12", "61", "47"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&nv12).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout.len(), 4 * 61 * 47);
}

#[test]
fn python_needs_nothing_but_ctypes() {
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|o| o.status.success()) {
        println!("skipped: there is no python3");
        return;
    }
    let frame = write("frame-py.rgb", &picture());
    let text = printed(
        Command::new("python3")
            .arg(here("c/example.py"))
            .arg(RELEASE.join("libelucid.so"))
            .arg(here(MODEL))
            .args([SIZE.0.to_string(), SIZE.1.to_string()])
            .arg(frame),
    );
    let (sum, start) = (number(&text, "sum"), number(&text, "relevance"));
    assert!((sum - start).abs() <= 1e-5 * start, "{text}");
}

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

/// A camera's frame is seen as the program sees a photo: the same pixels to within one level of 255.
#[test]
fn frames_are_seen_as_photos_are() {
    let photo = Photo::open(here("golden/resize/source.png")).unwrap();
    let (w, h) = photo.rgb.dimensions();
    let data = Plane {
        data: &photo.rgb.as_raw()[..],
        stride: 3 * w as usize,
    };
    let frame = Frame::new(w, h, Pixels::Rgb8(data)).unwrap();
    let net = elucid_core::arch::resnet::Resnet::cifar(1, 4, 3);
    for name in ["imagenet", "clip", "caffe-bgr", "cifar"] {
        let how = elucid_host::preprocess::find(Some(name), &net).unwrap();
        let want = photo.prepare(&how).unwrap();
        let mut got = vec![0.0; want.image.len()];
        let mut line = vec![0.0; 3 * (w + how.crop[1]) as usize];
        prepare(Isa::detect(), &frame, &how, &mut got, &mut line).unwrap();
        let levels: Vec<f32> = got
            .iter()
            .zip(&want.image)
            .enumerate()
            .map(|(i, (g, want))| ((g - want) * how.std[i % 3] / how.scale).abs())
            .collect();
        let worst = levels.iter().fold(0f32, |m, v| m.max(*v));
        let above = |limit: f32| levels.iter().filter(|v| **v > limit).count();
        let (off, far) = (above(0.5), above(1.01));
        println!(
            "{name}: of {} values {off} differ, {far} by more than a level, at most {worst:.2}",
            got.len()
        );
        assert!(off * 4 <= got.len());
        assert_eq!(far, 0, "{name}");
    }
}
