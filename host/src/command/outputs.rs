//! Which pictures are read and where results go, decided before any work is done.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where the bundled photo comes from.
pub const DEMO_PHOTO: &[u8] = include_bytes!("../../demo/photos/sunflower.jpg");
/// Its name.
pub const DEMO_NAME: &str = "sunflower.jpg";

/// Endings of files that a folder is searched for.
const PICTURES: [&str; 5] = ["jpg", "jpeg", "png", "webp", "npy"];
/// What our own pictures end in; they are not explained again.
pub const EXPLAINED: &str = ".explained.png";

/// A picture to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The bundled photo.
    Demo,
    /// A file.
    File(PathBuf),
}

impl Input {
    /// What to call it in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Input::Demo => DEMO_NAME.to_owned(),
            Input::File(path) => path.display().to_string(),
        }
    }

    fn file_name(&self) -> &Path {
        match self {
            Input::Demo => Path::new(DEMO_NAME),
            Input::File(path) => path.file_name().map_or(path, Path::new),
        }
    }
}

/// The pictures named by these arguments; folders stand for the pictures in them, in order of their names.
///
/// # Errors
/// If a folder can't be read or holds no picture.
pub fn inputs(arguments: &[PathBuf]) -> Result<Vec<Input>> {
    if arguments.is_empty() {
        return Ok(vec![Input::Demo]);
    }
    let mut inputs = Vec::new();
    for path in arguments {
        if !path.is_dir() {
            inputs.push(Input::File(path.clone()));
            continue;
        }
        let unreadable = || format!("cannot read the folder {}", path.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).with_context(unreadable)? {
            let file = entry.with_context(unreadable)?.path();
            let ending = file
                .extension()
                .map(|e| e.to_string_lossy().to_lowercase())
                .unwrap_or_default();
            let own = file.to_string_lossy().ends_with(EXPLAINED);
            if file.is_file() && PICTURES.contains(&ending.as_str()) && !own {
                found.push(file);
            }
        }
        if found.is_empty() {
            bail!(
                "no picture in {}; it must hold .jpg, .png, .webp or .npy files (.explained.png ones are skipped)",
                path.display()
            );
        }
        found.sort();
        inputs.extend(found.into_iter().map(Input::File));
    }
    Ok(inputs)
}

/// Where a picture or a map goes.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The picture.
    pub picture: Option<PathBuf>,
    /// The map.
    pub map: Option<PathBuf>,
}

/// The path for one of several classes: its number is put before the ending.
///
/// # Errors
/// If the path is something that isn't a file, as a device: there is but one of it.
pub fn numbered(path: &Path, number: usize, ending: &str) -> Result<PathBuf> {
    if path.exists() && !path.is_file() {
        bail!(
            "{} is one place for the results of several classes; name a file or a folder",
            path.display()
        );
    }
    let name = path.file_name().unwrap_or_default();
    let known = name.as_encoded_bytes().ends_with(ending.as_bytes());
    let parts = if known {
        ending.matches('.').count()
    } else {
        1
    };
    let stem = (0..parts).fold(name, |name, _| Path::new(name).file_stem().unwrap_or(name));
    let mut whole = stem.to_owned();
    whole.push(format!(".{number}"));
    if known {
        whole.push(ending);
    } else if let Some(extension) = path.extension() {
        whole.push(".");
        whole.push(extension);
    }
    Ok(path.with_file_name(whole))
}

/// One path per input: `chosen` itself for a single input, else files in the folder `chosen`, or in the current folder
/// if nothing was chosen.
///
/// # Errors
/// If a folder doesn't exist or several inputs would share a file.
pub fn paths(
    inputs: &[Input],
    chosen: Option<&Path>,
    ending: &str,
    option: &str,
) -> Result<Vec<PathBuf>> {
    let folder = match chosen {
        None => PathBuf::new(),
        Some(path) => {
            let names_folder =
                path.is_dir() || path.to_string_lossy().ends_with(std::path::is_separator);
            if names_folder && !path.is_dir() {
                bail!(
                    "the folder {} does not exist; create it first (mkdir -p {0})",
                    path.display()
                );
            }
            if names_folder {
                path.to_owned()
            } else if inputs.len() == 1 {
                return single(path, ending, option);
            } else {
                bail!(
                    "{} pictures need a folder, but {option} {} is not one",
                    inputs.len(),
                    path.display()
                );
            }
        }
    };
    let mut taken = HashSet::new();
    let unique = |input: &Input| {
        let name = input.file_name();
        let stem = name
            .file_stem()
            .unwrap_or(name.as_os_str())
            .to_string_lossy();
        let whole = name.to_string_lossy();
        // a.jpg and a.png keep their endings; equal names from several folders are numbered.
        let numbered = (2..).map(|n| format!("{stem}-{n}"));
        let mut names = [stem.to_string(), whole.to_string()]
            .into_iter()
            .chain(numbered);
        let free = names.find(|n| taken.insert(n.clone())).unwrap_or_default();
        folder.join(format!("{free}{ending}"))
    };
    Ok(inputs.iter().map(unique).collect())
}

fn single(path: &Path, ending: &str, option: &str) -> Result<Vec<PathBuf>> {
    let wanted = ending.rsplit('.').next().unwrap_or(ending);
    let device = path.exists() && !path.is_file();
    let fits = path
        .extension()
        .is_some_and(|e| e.to_string_lossy().eq_ignore_ascii_case(wanted));
    if !fits && !device {
        bail!("{option} {} must end in .{wanted}", path.display());
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|f| !f.is_dir()) {
        bail!(
            "cannot write {}: the folder {} does not exist; create it first (mkdir -p {1})",
            path.display(),
            folder.display()
        );
    }
    Ok(vec![path.to_owned()])
}

/// Refuses results that would replace what is read.
///
/// # Errors
/// If a result's path is an input's.
pub fn refuse_overwriting<'p>(
    inputs: &[Input],
    results: impl Iterator<Item = &'p PathBuf>,
) -> Result<()> {
    let files = inputs.iter().filter_map(|input| match input {
        Input::Demo => None,
        Input::File(path) => path.canonicalize().ok(),
    });
    let read: HashSet<PathBuf> = files.collect();
    for result in results {
        if result.canonicalize().is_ok_and(|path| read.contains(&path)) {
            bail!(
                "{} would be overwritten by its own result; choose another place",
                result.display()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_has_a_file_of_its_own() {
        let files = ["a.jpg", "x/a.png", "y/a.png", "b.webp"].map(|p| Input::File(p.into()));
        let got = paths(&files, None, ".explained.png", "-o").unwrap();
        let want = [
            "a.explained.png",
            "a.png.explained.png",
            "a-2.explained.png",
            "b.explained.png",
        ];
        assert_eq!(got, want.map(PathBuf::from));
    }

    #[test]
    fn wrong_places_are_named_before_any_work() {
        let one = [Input::Demo];
        let message = |chosen: &str, inputs: &[Input]| {
            paths(inputs, Some(Path::new(chosen)), ".explained.png", "-o")
                .unwrap_err()
                .to_string()
        };
        assert!(message("nowhere/out.png", &one).contains("mkdir -p nowhere"));
        assert!(message("nowhere/", &one).contains("mkdir -p nowhere/"));
        assert!(message("out.jpg", &one).contains("must end in .png"));
        assert!(
            message("out.png", &[Input::Demo, Input::Demo]).contains("2 pictures need a folder")
        );
    }
}
