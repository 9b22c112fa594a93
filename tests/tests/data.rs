//! Trained networks on real photos, where there are any: `ELUCID_DATA` names a folder that holds
//! `models/resnet50c4_cub50.safetensors` (a ResNet-50 trunk, Keras-style), `models/cifar10_resnet20.safetensors` and the
//! photos of `cub50/`. Without it every test here says that it was skipped.

use std::io::{Write, stderr};
use std::path::PathBuf;

use elucid_core::arch::resnet::StrideOn;
use elucid_core::heat::quantize;
use elucid_core::plan::Memory;
use elucid_core::{Model, Shape};
use elucid_host::photo::Photo;
use elucid_tests::golden::Import;
use elucid_tests::reference::{Architecture, Preset, ResNet, Rules, Split, Stem};
use elucid_tests::subject::{Cpu, Image, Run, Subject};
use elucid_tests::suite::{check_exact, compare};
use elucid_tests::tensors::Tensors;

/// The folder, or `None` after saying so.
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("ELUCID_DATA").map(PathBuf::from);
    if folder.is_none() {
        // Past the test harness, which shows what is printed only of tests that fail.
        let _ = writeln!(
            stderr(),
            "skipped: set ELUCID_DATA to the folder with models/ and cub50/"
        );
    }
    folder
}

/// The first `count` photos of different classes.
fn photos(data: &std::path::Path, count: usize) -> Vec<PathBuf> {
    let sorted = |folder: PathBuf| {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let folders = sorted(data.join("cub50/images")).into_iter();
    folders
        .take(count)
        .map(|folder| sorted(folder).remove(0))
        .collect()
}

/// A photo as the model wants it.
fn prepare(model: &Model<'_>, photo: &std::path::Path) -> Image {
    let prepared = Photo::open(photo).and_then(|p| p.prepare(&model.preprocess()));
    let prepared = prepared.unwrap_or_else(|e| panic!("{e}"));
    Image {
        shape: Shape::new(prepared.height as u32, prepared.width as u32, 3),
        values: prepared.image,
    }
}

#[test]
fn a_trained_resnet50_conserves_on_photos() {
    let Some(data) = data() else { return };
    let weights = data.join("models/resnet50c4_cub50.safetensors");
    for half in [false, true] {
        let import = Import {
            stride_on: StrideOn::First,
            bn_eps: 1.001e-5,
            preprocess: Some("caffe-bgr"),
            half,
        };
        let bytes = import.open(&weights);
        let model = bytes.parse().unwrap();
        let cpu = Cpu::new(Memory::Block, 2);
        for photo in photos(&data, 2) {
            let image = prepare(&model, &photo);
            for run in Run::all() {
                let what = format!(
                    "{}, f16 {half}, {:?} {:?}",
                    photo.display(),
                    run.preset,
                    run.split
                );
                let mut got = cpu.explain(&model, &image, &run).unwrap();
                got.check_ledger(&what);
                assert!(got.map.iter().all(|v| v.is_finite() && *v >= 0.0), "{what}");
                if run.preset == Preset::Exact {
                    check_exact(&got, &what);
                }
                let (p, error) = (got.seed.probability, got.conservation_error());
                println!(
                    "{what}: class {} ({p:.3}), error {error:.1e}",
                    got.seed.predicted
                );
                quantize(&mut got.map, 8);
                let mut levels: Vec<u32> = got.map.iter().map(|v| v.to_bits()).collect();
                levels.sort_unstable();
                levels.dedup();
                assert!(
                    (2..=8).contains(&levels.len()),
                    "{what}: {} levels",
                    levels.len()
                );
            }
        }
    }
}

#[test]
fn a_trained_cifar_resnet_is_the_references() {
    let Some(data) = data() else { return };
    let file = data.join("models/cifar10_resnet20.safetensors");
    let bytes = Import::default().open(&file);
    let model = bytes.parse().unwrap();
    // The names in the file may differ from the reference's.
    let mut weights = Tensors::default();
    let stored = Tensors::load(&file);
    for name in stored.names() {
        let plain = name.trim_start_matches("module.");
        weights.insert(plain, stored.get(name).clone());
    }
    let architecture = Architecture {
        stem: Stem::ThreeByThree,
        pool: false,
        ..Architecture::default()
    };
    let network = ResNet::new(&weights, architecture);
    let photo = photos(&data, 1).remove(0);
    let image = prepare(&model, &photo);
    assert_eq!((image.shape.h, image.shape.w), (32, 32));
    for run in [
        Run::new(Preset::Exact, Split::Ratio),
        Run::new(Preset::Exact, Split::ProjectionHalf),
        Run::new(Preset::Paper, Split::Ratio),
        Run::new(Preset::Paper, Split::Half),
    ] {
        let what = format!("{:?} {:?}", run.preset, run.split);
        let want = network.explain(&image.to_nchw(), &Rules::new(run.preset, run.split), None);
        for memory in [Memory::Keep, Memory::Block] {
            let got = Cpu::new(memory, 1).explain(&model, &image, &run).unwrap();
            got.check_ledger(&what);
            if run.preset == Preset::Exact {
                check_exact(&got, &what);
            }
            let error = compare(&got, &want, 32, &what);
            println!(
                "{what}, {memory:?}: map {error:.1e}, conservation {:.1e}",
                got.conservation_error()
            );
        }
    }
}
