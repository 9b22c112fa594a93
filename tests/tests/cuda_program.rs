//! The program with `--backend cuda` and no GPU: real cudarc, code that a real NVRTC made, and a driver that executes the kernels
//! on this CPU (`tests/emulator`). Whole networks are explained end to end and must give the CPU's maps.
//!
//! `ELUCID_NVRTC` names the compiler; without it these tests say that they were skipped.

mod library;
#[allow(dead_code)] // Every test file uses a part of it.
mod program;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::Command;

use elucid_core::arch::resnet::Resnet;
use elucid_emulator::mock_driver;
use elucid_host::architecture::{self, Wanted};
use elucid_host::checkpoint::Checkpoint;
use elucid_host::import::{Options, import};
use elucid_host::{preprocess, synthetic};
use elucid_tests::golden::path;
use library::{Link, MODEL, SIZE, compile, here, picture, printed, write};
use program::Place;
use serde_json::Value;

/// Largest difference of a map from the CPU's, relative to its largest value.
const MAP: f32 = 1e-4;

/// How the program is to drive the device.
struct Driver {
    variables: Vec<(&'static str, OsString)>,
}

impl Driver {
    /// The mock driver; nothing without a compiler.
    fn new(test: &str, settings: &[(&'static str, &str)]) -> Option<Self> {
        if env::var_os("ELUCID_NVRTC").is_none() {
            // Not by `println`, which the test runner hides.
            let note = format!("skipped: {test}, as ELUCID_NVRTC names no libnvrtc");
            let _ = writeln!(io::stderr(), "{note}");
            return None;
        }
        let compiled = concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled-kernels");
        let mut variables = vec![
            ("LD_LIBRARY_PATH", mock_driver(false).into_os_string()),
            // One for all tests: what is compiled is known by its content.
            ("ELUCID_CACHE", compiled.into()),
            // As new as any NVRTC's code.
            ("MOCK_DRIVER_VERSION", OsString::from("13090")),
        ];
        variables.extend(settings.iter().map(|&(name, value)| (name, value.into())));
        Some(Self { variables })
    }

    /// What the program prints, one object a line.
    fn accept(&self, place: &Place, command: &str) -> Vec<Value> {
        let text = self.text(place, &format!("{command} --json"));
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    fn borrowed(&self) -> Vec<(&str, &OsStr)> {
        let all = self.variables.iter();
        all.map(|(name, value)| (*name, value.as_os_str()))
            .collect()
    }

    fn text(&self, place: &Place, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        let outcome = place.run_in(&self.borrowed(), &words);
        assert_eq!(outcome.code, Some(0), "{command}: {}", outcome.stderr);
        assert_eq!(outcome.stderr, "", "{command}");
        outcome.stdout
    }

    /// The same explanation by both backends.
    fn same(&self, place: &Place, command: &str) {
        let command = format!("explain {command} -o out.png --map out.npy");
        let cpu = place.accept_object(&command);
        let (shape, want) = place.map("out.npy");
        let gpu = self.accept(place, &format!("{command} --backend cuda"));
        let gpu = &gpu[0];
        let (other, got) = place.map("out.npy");
        assert_eq!(shape, other, "{command}");
        assert_eq!(
            (&gpu["backend"], &cpu["backend"]),
            (&"cuda".into(), &"cpu".into())
        );
        assert!(
            gpu["device"].as_str().unwrap().contains("Emulated"),
            "{gpu}"
        );
        for field in ["class_index", "target_index", "balanced"] {
            assert_eq!(gpu[field], cpu[field], "{command}: {field}");
        }
        let most = want.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let off = got
            .iter()
            .zip(&want)
            .fold(0.0f32, |off, (g, w)| off.max((g - w).abs()));
        assert!(off <= MAP * most, "{command}: {off} of {most}");
        println!("{command}: {:.1e}", off / most);
    }
}

/// Puts a model into a folder: a ResNet with random weights.
fn resnet(place: &Place, name: &str, net: &Resnet, half: bool) {
    let options = Options {
        bn_eps: 1e-5,
        half,
        preprocess: preprocess::find(None, net).unwrap(),
        classes: Vec::new(),
    };
    let bytes = import(&synthetic::checkpoint(net, 11).unwrap(), net, &options).unwrap();
    place.write(name, &bytes);
}

#[test]
fn networks_are_explained_end_to_end() {
    // Tensor cores take minutes here: their products are exchanged lane by lane.
    let settings = [("ELUCID_CUDA_TENSOR_CORES", "0")];
    let Some(driver) = Driver::new("networks_are_explained_end_to_end", &settings) else {
        return;
    };
    let place = Place::new();
    resnet(
        &place,
        "18.elucid",
        &Resnet::imagenet(18, 64, 10).unwrap(),
        true,
    );
    resnet(
        &place,
        "50.elucid",
        &Resnet::imagenet(50, 16, 10).unwrap(),
        false,
    );
    place.array("a.npy", &[3, 64, 61], |i| (i as f32 * 0.37).sin());
    for model in ["18", "50"] {
        for how in [
            "",
            "--preset paper --split half --memory keep",
            "--preset epsilon-plus",
        ] {
            driver.same(&place, &format!("--model {model}.elucid a.npy {how}"));
        }
    }
    driver.same(
        &place,
        "--model 50.elucid a.npy --memory stage --checkpoints f16 --target 3",
    );
}

#[test]
fn maps_are_quantised_on_the_device() {
    let Some(driver) = Driver::new("maps_are_quantised_on_the_device", &[]) else {
        return;
    };
    let place = Place::new();
    let command = "explain --model m.elucid a.png --quantize 8 -o out.png --map out.npy";
    place.accept(command);
    let (_, want) = place.map("out.npy");
    driver.text(&place, &format!("{command} --backend cuda"));
    let (_, got) = place.map("out.npy");
    let most = want.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    // A value beside an edge may fall on either side of it.
    let other = got
        .iter()
        .zip(&want)
        .filter(|(g, w)| (*g - *w).abs() > MAP * most);
    assert!(other.count() <= want.len() / 200);
    let mut levels: Vec<u32> = got.iter().map(|v| v.to_bits()).collect();
    levels.sort_unstable();
    levels.dedup();
    assert!((2..=8).contains(&levels.len()), "{} levels", levels.len());
}

#[test]
fn the_adapter_is_explained_end_to_end() {
    let Some(driver) = Driver::new("the_adapter_is_explained_end_to_end", &[]) else {
        return;
    };
    let place = Place::new();
    let checkpoint = Checkpoint::open(&path("ala").join("weights.safetensors")).unwrap();
    let wanted = Wanted {
        heads: Some(3),
        adapter_heads: Some(4),
        ..Wanted::default()
    };
    let net = architecture::infer(&checkpoint, &wanted).unwrap();
    let options = Options {
        bn_eps: 1e-5,
        half: false,
        preprocess: preprocess::find(None, &net).unwrap(),
        classes: Vec::new(),
    };
    place.write("ala.elucid", import(&checkpoint, &net, &options).unwrap());
    driver.same(&place, "--model ala.elucid a.png --method ala");
}

#[test]
fn every_generation_gives_the_same_map() {
    for (capability, code) in [
        ("5.3", "ptx"),
        ("7.2", "ptx"),
        ("8.7", "ptx"),
        ("9.0", "ptx"),
        ("7.2", "cubin"),
        ("8.7", "cubin"),
        ("12.0", "cubin"),
    ] {
        for integrated in ["0", "1"] {
            let settings = [
                ("MOCK_CAPABILITY", capability),
                ("ELUCID_CUDA_CODE", code),
                ("MOCK_INTEGRATED", integrated),
            ];
            let Some(driver) = Driver::new("every_generation_gives_the_same_map", &settings) else {
                return;
            };
            let place = Place::new();
            driver.same(&place, "--model m.elucid a.png");
        }
    }
}

#[test]
fn evaluation_and_bench_run_on_the_device() {
    let Some(driver) = Driver::new("evaluation_and_bench_run_on_the_device", &[]) else {
        return;
    };
    let place = Place::new();
    let bench = driver.accept(&place, "bench --model m.elucid --runs 3 --backend cuda");
    assert_eq!(bench[0]["backend"], "cuda");
    assert!(bench[0]["explain_ms"]["median"].as_f64().unwrap() > 0.0);
    place.folder("data");
    for class in ["daisy", "rose"] {
        place.folder(&format!("data/{class}"));
        for photo in ["1.png", "2.png"] {
            place.photo(&format!("data/{class}/{photo}"), 40, 36);
        }
    }
    let command = "eval accuracy --model m.elucid --data data --format folder";
    let summary = |how: &str, run: &str| -> Value {
        let words = format!("{command} {how} -o {run}");
        let words: Vec<&str> = words.split_whitespace().collect();
        let outcome = place.run_in(&driver.borrowed(), &words);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let summary: Value =
            serde_json::from_slice(&place.read(&format!("{run}/summary.json"))).unwrap();
        summary["methods"][0]["scores"].clone()
    };
    let gpu = summary("--backend cuda", "gpu");
    assert_eq!(gpu.as_object().unwrap().len(), 3, "{gpu}");
    let cpu = summary("", "cpu");
    for (score, of_gpu) in gpu.as_object().unwrap() {
        let [got, want] = [of_gpu, &cpu[score]].map(|s| s["mean"].as_f64().unwrap());
        assert!((got - want).abs() <= 1e-4, "{score}: {got} {want}");
    }
}

#[test]
fn doctor_says_what_there_is() {
    let Some(driver) = Driver::new("doctor_says_what_there_is", &[]) else {
        return;
    };
    let text = driver.text(&Place::new(), "doctor");
    for word in ["sm_87", "NVRTC", "graphs"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_c_program_explains_on_the_device() {
    for code in ["cubin", "ptx"] {
        let settings = [("ELUCID_CUDA_CODE", code)];
        let Some(driver) = Driver::new("a_c_program_explains_on_the_device", &settings) else {
            return;
        };
        let place = Place::new();
        let frame = write("cuda.rgb", &picture());
        for link in [Link::Static, Link::Dynamic] {
            let text = printed(
                Command::new(compile("cuda.c", link, &[]))
                    .arg(here(MODEL))
                    .args([SIZE.0.to_string(), SIZE.1.to_string()])
                    .arg(&frame)
                    .envs(driver.variables.iter().map(|(n, v)| (*n, v.as_os_str())))
                    .current_dir(place.path("")),
            );
            println!("{text}");
            assert!(text.contains("the same on device"), "{text}");
        }
    }
}

#[test]
fn a_gpu_that_cannot_be_used_is_one_line_that_names_what_works() {
    let folder = mock_driver(false);
    let of = |settings: &[(&str, &str)], command: &str| {
        let mut variables = vec![("LD_LIBRARY_PATH", folder.as_os_str())];
        variables.extend(
            settings
                .iter()
                .map(|(name, value)| (*name, OsStr::new(*value))),
        );
        let words: Vec<&str> = command.split_whitespace().collect();
        let outcome = Place::new().run_in(&variables, &words);
        (outcome.code, outcome.stdout, outcome.stderr)
    };
    for (settings, what) in [
        (("MOCK_DEVICES", "0"), "finds no device"),
        (("MOCK_DRIVER_VERSION", "10020"), "11.4 is needed"),
        (("MOCK_FAIL", "cuInit:999"), "CUDA_ERROR_UNKNOWN"),
        (("ELUCID_NVRTC", "/nowhere"), "/nowhere"),
    ] {
        for command in ["explain --model m.elucid a.png", "bench --model m.elucid"] {
            let (code, _, line) = of(&[settings], &format!("{command} --backend cuda"));
            assert_eq!(code, Some(1), "{command}: {line}");
            assert!(
                line.contains(what) && line.contains("use --backend cpu"),
                "{line}"
            );
            assert_eq!(line.lines().count(), 1, "{line}");
        }
        let (code, text, line) = of(&[settings], "doctor");
        assert_eq!((code, line.as_str()), (Some(0), ""), "{settings:?}");
        assert!(text.contains(what), "{text}");
    }
    for (command, code, what) in [
        (
            "explain --model m.elucid a.png --device 1",
            1,
            "add --backend cuda",
        ),
        (
            "train ala --config a.toml -o run --backend cuda",
            2,
            "training runs on the CPU",
        ),
    ] {
        let (found, _, line) = of(&[], command);
        assert_eq!(found, Some(code), "{command}: {line}");
        assert!(line.contains(what), "{line}");
    }
}
