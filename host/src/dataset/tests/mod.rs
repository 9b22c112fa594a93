//! Tiny trees in every layout, wrong ones among them, and real data where `ELUCID_DATA` names its folder.

mod imagenet;
mod objects;
mod real;

use std::fs;
use std::path::PathBuf;

use image::{Rgb, RgbImage};
use tempfile::TempDir;

use super::*;

/// A folder that is filled file by file and vanishes with the test.
struct Tree(TempDir);

impl Tree {
    fn new() -> Tree {
        Tree(tempfile::tempdir().unwrap())
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Tree {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Empty files: an index never looks into pictures.
    fn files(&self, paths: &[&str]) -> &Tree {
        for path in paths {
            self.file(path, "");
        }
        self
    }

    fn picture(&self, path: &str, colours: &[[u8; 3]]) -> &Tree {
        self.file(path, "");
        let pixel = |x: u32, _| Rgb(colours[x as usize]);
        let picture = RgbImage::from_fn(colours.len() as u32, 1, pixel);
        picture.save(self.0.path().join(path)).unwrap();
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn open(&self, format: Format) -> Dataset {
        Dataset::open(format, self.0.path(), &Options::default()).unwrap()
    }

    fn open_with(&self, format: Format, options: &Options) -> Dataset {
        Dataset::open(format, self.0.path(), options).unwrap()
    }

    /// What is the matter, which must be one line.
    fn error(&self, format: Format) -> (Trouble, String) {
        let error = Dataset::open(format, self.0.path(), &Options::default()).unwrap_err();
        let text = error.to_string();
        assert!(!text.contains('\n'));
        (error.trouble(), text)
    }
}

fn ids(data: &Dataset) -> Vec<(String, Option<u32>)> {
    (0..data.len())
        .map(|at| data.sample(at))
        .map(|sample| (sample.id, sample.label))
        .collect()
}

fn labelled(wanted: &[(&str, u32)]) -> Vec<(String, Option<u32>)> {
    let pair = |&(id, label): &(&str, u32)| (id.to_owned(), Some(label));
    wanted.iter().map(pair).collect()
}

#[test]
fn every_format_refuses_a_wrong_root() {
    let empty = Tree::new();
    for (name, format) in Format::NAMES {
        let (trouble, text) = empty.error(format);
        assert_eq!(trouble, Trouble::Root, "{name}: {text}");
        let nowhere = empty.path("nowhere");
        let error = Dataset::open(format, &nowhere, &Options::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("nowhere does not exist; check --data")
        );
        assert_eq!(name.parse::<Format>().unwrap().to_string(), name);
    }
    assert!(
        "coco"
            .parse::<Format>()
            .unwrap_err()
            .contains("cub, imagenet, imagenet-s")
    );
}
