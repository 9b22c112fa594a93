//! The C API as its users see it: the programs of `tests/c`, compiled by the system's compilers against `elucid.h` and what
//! `cargo build --release` leaves in the target folder, linked both ways, run plainly, under valgrind and with sanitizers.

mod library;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use elucid_core::frame::{Frame, Pixels, Plane, prepare};
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::simd::Isa;
use elucid_core::{Model, Shape};
use elucid_host::aligned::Aligned;
use elucid_host::engine::{Engine, Method, Threads};
use library::{
    Link, MODEL, RELEASE, SANITIZED, SIZE, compile, here, number, picture, printed, valgrind, write,
};

/// Most bytes of stack that a call may take.
const STACK: u64 = 16 * 1024;
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
        if let Some(mut valgrind) = valgrind(&program) {
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
    for link in [Link::Static, Link::Dynamic] {
        let program = compile("misuse.c", link, &[]);
        check(&mut Command::new(&program));
        check(&mut Command::new(compile("misuse.c", link, &SANITIZED)));
        if let Some(mut valgrind) = valgrind(&program) {
            check(&mut valgrind);
        }
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
        for thread in ["stack", "worker"] {
            let bytes = number(&text, thread);
            assert!(bytes > 0.0 && bytes <= STACK as f64, "{thread}: {text}");
        }
        // 12 explainers: 11 calls for each of four formats, 8 for tensors, which can't be drawn over, 4 for the explainer itself.
        assert_eq!(
            number(&text, "calls"),
            12.0 * (4.0 * 11.0 + 8.0 + 4.0),
            "{text}"
        );
    }
}

/// Runs `stream` on frames of `SIZE`. Returns the pictures and what was logged.
fn streamed(command: &mut Command, format: &str, frame: &[u8], frames: usize) -> (Vec<u8>, String) {
    let mut child = command
        .arg(here(MODEL))
        .args([format, &SIZE.0.to_string(), &SIZE.1.to_string(), "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let frame = frame.to_vec();
    let feed =
        std::thread::spawn(move || (0..frames).for_each(|_| input.write_all(&frame).unwrap()));
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command:?}: {log}");
    feed.join().unwrap();
    let picture = 4 * (SIZE.0 * SIZE.1) as usize;
    assert_eq!(output.stdout.len(), frames * picture);
    // Every second frame is explained.
    let lines = log.lines().filter(|l| l.starts_with("frame ")).count();
    assert_eq!(lines, frames.div_ceil(2), "{log}");
    (output.stdout, log)
}

#[test]
fn a_stream_is_explained_in_bounded_memory() {
    let rgb = picture();
    let mut bgr = rgb.clone();
    bgr.as_chunks_mut::<3>()
        .0
        .iter_mut()
        .for_each(|p| p.swap(0, 2));
    let nv12 = vec![120; 61 * 47 + 31 * 24 * 2];
    let formats = [("rgb", &rgb), ("bgr", &bgr), ("nv12", &nv12)];
    let mut all = vec![];
    for link in [Link::Static, Link::Dynamic] {
        let program = compile("stream.c", link, &[]);
        let memory = |frames: usize| {
            let (_, log) = streamed(&mut Command::new(&program), "rgb", &rgb, frames);
            log.lines().next().unwrap().to_owned()
        };
        assert_eq!(memory(3), memory(40));
        let sanitized = compile("stream.c", link, &SANITIZED);
        for (format, frame) in formats {
            let (plain, _) = streamed(&mut Command::new(&program), format, frame, 3);
            let (same, _) = streamed(&mut Command::new(&sanitized), format, frame, 3);
            assert!(plain == same, "{format}, {link:?}, sanitized");
            if let Some(mut valgrind) = valgrind(&program) {
                let (same, _) = streamed(&mut valgrind, format, frame, 3);
                assert!(plain == same, "{format}, {link:?}, valgrind");
            }
            all.push(plain);
        }
    }
    // However it is linked, and in whichever order the colours lie.
    assert!(all[..3] == all[3..] && all[0] == all[1] && all[0] != all[2]);
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
