//! The program `elucid` in a folder of its own, with a small model and a photo to work on.

pub mod runs;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use elucid_core::arch::resnet::Resnet;
use elucid_host::import::{Options, import};
use elucid_host::{preprocess, synthetic};
use image::{ImageFormat, Rgb, RgbImage};
use npyz::{DType, NpyFile, WriterBuilder};
use serde_json::Value;
use tempfile::TempDir;

/// The classes of `m.elucid`.
pub const CLASSES: [&str; 5] = ["daisy", "dandelion", "rose", "sunflower", "tulip"];

/// A folder that holds `m.elucid`, whose input is 32 x 32, and `a.png`. The program runs in it.
pub struct Place {
    folder: TempDir,
}

/// How a run ended.
pub struct Outcome {
    /// The exit code.
    pub code: Option<i32>,
    /// What went to standard output.
    pub stdout: String,
    /// What went to standard error.
    pub stderr: String,
}

/// The arguments in a command line; none of them may hold a space.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

impl Place {
    /// A new folder.
    pub fn new() -> Self {
        let place = Self {
            folder: TempDir::new().unwrap(),
        };
        let net = Resnet::cifar(1, 6, 5);
        let options = Options {
            bn_eps: 1e-5,
            half: true,
            preprocess: preprocess::find(None, &net).unwrap(),
            classes: CLASSES.map(str::to_owned).to_vec(),
        };
        let bytes = import(&synthetic::checkpoint(&net, 4).unwrap(), &net, &options).unwrap();
        place.write("m.elucid", &bytes);
        place.photo("a.png", 40, 30);
        place
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The bytes of a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Makes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Makes a folder.
    pub fn folder(&self, name: &str) {
        fs::create_dir(self.path(name)).unwrap();
    }

    /// Copies a golden file under its own name.
    pub fn golden(&self, name: &str) {
        let from = elucid_tests::golden::path(name);
        fs::copy(
            &from,
            self.path(from.file_name().unwrap().to_str().unwrap()),
        )
        .unwrap();
    }

    /// Makes a picture of this width and height in the format of its ending.
    pub fn photo(&self, name: &str, width: u32, height: u32) {
        let value = |v: u32| (v % 256) as u8;
        let pixel = |x, y| Rgb([value(x * 7), value(y * 5), value(x + y)]);
        let format = ImageFormat::from_path(name).unwrap();
        let picture = RgbImage::from_fn(width, height, pixel);
        picture.save_with_format(self.path(name), format).unwrap();
    }

    /// Makes a `.npy` file of f32.
    pub fn array(&self, name: &str, shape: &[u64], value: impl Fn(usize) -> f32) {
        let file = fs::File::create(self.path(name)).unwrap();
        let options = npyz::WriteOptions::new().dtype(DType::Plain("<f4".parse().unwrap()));
        let mut array = options.shape(shape).writer(file).begin_nd().unwrap();
        let count = shape.iter().product::<u64>() as usize;
        array.extend((0..count).map(value)).unwrap();
        array.finish().unwrap();
    }

    /// Runs the program.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Outcome {
        self.run_in(&[], arguments)
    }

    /// Runs the program with these environment variables.
    pub fn run_in<S: AsRef<OsStr>>(
        &self,
        variables: &[(&str, &OsStr)],
        arguments: &[S],
    ) -> Outcome {
        let output = Command::new(env!("CARGO_BIN_EXE_elucid-under-test"))
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(self.folder.path())
            // Whoever debugs something else must still get one line.
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Every file below the folder with its bytes.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let (mut files, mut folders) = (BTreeMap::new(), vec![self.folder.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        files
    }

    /// Runs something that must fail with this code: one line that holds these words, and not a file touched.
    pub fn refuse(&self, code: i32, command: &str, wanted: &[&str]) {
        let before = self.files();
        let Outcome {
            code: found,
            stdout,
            stderr,
        } = self.run(&words(command));
        assert_eq!(found, Some(code), "{command}: {stderr}");
        assert_eq!(stdout, "", "{command}");
        let line = stderr.strip_suffix('\n').unwrap_or("");
        assert!(
            !line.contains('\n'),
            "{command}: more than one line:\n{stderr}"
        );
        assert!(line.starts_with("elucid: "), "{command}: {line:?}");
        assert!(line.len() < 500, "{command}: {line:?}");
        for word in wanted {
            assert!(
                line.contains(word),
                "{command}: {word:?} is not in {line:?}"
            );
        }
        assert!(self.files() == before, "{command}: a file was written");
        println!("{code}  {line}");
    }

    /// Runs something that must succeed and say nothing on stderr; returns stdout.
    pub fn accept(&self, command: &str) -> String {
        let outcome = self.run(&words(command));
        assert_eq!(outcome.code, Some(0), "{command}: {}", outcome.stderr);
        assert_eq!(outcome.stderr, "", "{command}");
        outcome.stdout
    }

    /// The same with `--json`: one object a line.
    pub fn accept_json(&self, command: &str) -> Vec<Value> {
        let text = self.accept(&format!("{command} --json"));
        let object = |l: &str| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"));
        text.lines().map(object).collect()
    }

    /// The same for one object.
    pub fn accept_object(&self, command: &str) -> Value {
        let mut objects = self.accept_json(command);
        assert_eq!(objects.len(), 1, "{command}: {objects:?}");
        objects.remove(0)
    }

    /// A picture that the program made; panics if it isn't one.
    pub fn picture(&self, name: &str) -> RgbImage {
        let picture = image::open(self.path(name));
        picture
            .unwrap_or_else(|e| panic!("{name}: {e}"))
            .into_rgb8()
    }

    /// A map that the program made: its shape and its values.
    pub fn map(&self, name: &str) -> (Vec<u64>, Vec<f32>) {
        let array = NpyFile::new(fs::File::open(self.path(name)).unwrap()).unwrap();
        (array.shape().to_vec(), array.into_vec().unwrap())
    }
}

/// Explains `a.png` with the small model and more arguments, without a picture.
pub fn explain(place: &Place, arguments: &str) -> Value {
    place.accept_object(&format!(
        "explain --model m.elucid a.png --no-picture {arguments}"
    ))
}

/// A number of a report.
pub fn number(report: &Value, key: &str) -> f64 {
    let found = report[key].as_f64();
    found.unwrap_or_else(|| panic!("no number {key} in {report}"))
}
