//! The firmware of `tests/firmware`: what it expects is what the naive f64 implementation computes, and what it logs can be read.
//!
//! `tests/run.sh firmware` builds it for a Cortex-M4F, runs it in an emulator, and names the folder with its log for the second test.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use defmt_decoder::{DecodeError, Table};
use elucid_core::Model;
use elucid_core::frame::{Frame, Pixels, Plane, prepare};
use elucid_core::simd::Isa;
use elucid_host::aligned::Aligned;
use elucid_host::architecture::{Net, Wanted, infer};
use elucid_host::checkpoint::Checkpoint;
use elucid_tests::reference::{Preset, ResNet, Rules, Split};
use elucid_tests::subject::Image;
use elucid_tests::suite::architecture;
use elucid_tests::tensors::{Tensor, Tensors, worst};
use half::f16;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("firmware/model")
        .join(name)
}

#[test]
fn the_golden_map_is_the_references() {
    let bytes = Aligned::copy_of(&fs::read(file("flowers32.elucid")).unwrap());
    let model = Model::parse(bytes.bytes()).unwrap();
    let photo = fs::read(file("photo.rgb")).unwrap();
    let pixels = Plane {
        data: &photo[..],
        stride: 3 * 32,
    };
    let frame = Frame::new(32, 32, Pixels::Rgb8(pixels)).unwrap();
    let (mut values, mut line) = (vec![0.0; photo.len()], vec![0.0; 3 * 32]);
    prepare(
        Isa::detect(),
        &frame,
        &model.preprocess(),
        &mut values,
        &mut line,
    )
    .unwrap();
    let image = Image {
        shape: model.input_shape(),
        values,
    };

    // The weights it was made of, rounded as in the model.
    let checkpoint = Checkpoint::open(&file("flowers32.safetensors")).unwrap();
    let wanted = Wanted::default();
    let Net::Resnet(net) = infer(&checkpoint, &wanted).unwrap() else {
        panic!("the firmware's model is a ResNet")
    };
    let mut weights = Tensors::default();
    for (name, tensor) in &checkpoint.tensors {
        let round = |v: &f32| match tensor.shape.len() {
            1 => f64::from(*v),
            _ => f16::from_f32(*v).to_f64(),
        };
        let data = tensor.data.iter().map(round).collect();
        weights.insert(name, Tensor::new(&tensor.shape, data));
    }
    let rules = Rules::new(Preset::Exact, Split::Ratio);
    let trace =
        ResNet::new(&weights, architecture(&net, 1e-5)).explain(&image.to_nchw(), &rules, None);
    assert_eq!(model.class_name(trace.target as u32), Some("sunflower"));

    if env::var_os("ELUCID_BLESS").is_some() {
        let map = trace.map.iter().flat_map(|&v| (v as f32).to_le_bytes());
        fs::write(file("golden.f32"), map.collect::<Vec<u8>>()).unwrap();
    }
    let golden = fs::read(file("golden.f32")).unwrap();
    let golden: Vec<f32> = golden
        .as_chunks()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect();
    let off = worst(&golden, &trace.map);
    assert!(
        off.error <= 1e-7,
        "golden.f32 is old (ELUCID_BLESS=1 makes it anew): {off}"
    );
}

/// The messages of a log, decoded with the format strings in the firmware's own file.
fn decode(program: &[u8], frames: &[u8]) -> Vec<String> {
    let table = Table::parse(program)
        .unwrap()
        .expect("a firmware with defmt");
    let mut decoder = table.new_stream_decoder();
    decoder.received(frames);
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => lines.push(frame.display_message().to_string()),
            Err(DecodeError::UnexpectedEof) => return lines,
            Err(DecodeError::Malformed) => panic!("a frame is malformed, after {lines:?}"),
        }
    }
}

#[test]
fn the_log_holds_the_ledger() {
    let Some(folder) = env::var_os("ELUCID_FIRMWARE").map(PathBuf::from) else {
        println!("skipped: `tests/run.sh firmware` names a folder with a log");
        return;
    };
    let read = |name: &str| fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let lines = decode(&read("firmware.elf"), &read("defmt.frames"));
    for line in &lines {
        println!("{line}");
    }
    let has = |parts: &[&str]| {
        lines
            .iter()
            .filter(|l| parts.iter().all(|p| l.contains(p)))
            .count()
    };
    assert_eq!(has(&["planned", "steps over", "f32"]), 1);
    assert_eq!(has(&["explained class 3", "Seed", "probability: 0.98"]), 1);
    assert_eq!(
        has(&[
            "an empty image",
            "Length",
            "buffer: Image",
            "need: 3072",
            "have: 0"
        ]),
        1
    );
    // Every step of the ledger: three splits, and a convolution of the image at the end.
    let ledger = has(&[
        "ledger Entry",
        "node: ",
        "act: ",
        "into: ",
        "sinks: Sinks",
        "redistributed: ",
    ]);
    let printed = String::from_utf8(read("output.txt")).unwrap();
    let steps = printed
        .lines()
        .find_map(|l| l.strip_prefix("ledger steps "))
        .unwrap();
    assert_eq!(ledger.to_string(), steps);
    assert_eq!(has(&["ledger", "act: Split"]), 3);
    assert_eq!(has(&["ledger", "act: Relevance"]), ledger - 3);
}
