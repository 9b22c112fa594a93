//! Lists in text files and in folders, read in an order that is the same on every machine.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Class, DataError, Trouble};

/// Endings of picture files.
const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// A text file with one entry a line.
pub(super) struct List {
    path: PathBuf,
    text: String,
}

impl List {
    /// Reads the list at `path`.
    pub(super) fn read(path: impl Into<PathBuf>) -> Result<List, DataError> {
        let path = path.into();
        let missing = |what: String| DataError::at(Trouble::Missing, &path, what);
        let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => missing(
                "is missing; check that the data set was unpacked whole and that --data names its folder".into(),
            ),
            _ => missing(format!("cannot be read: {e}")),
        })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| missing("is not UTF-8 text; unpack it again".into()))?;
        Ok(List { path, text })
    }

    /// The first of `names` that is a file in one of `folders`.
    pub(super) fn find(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
        let mut paths = names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        paths.find(|path| path.is_file())
    }

    /// Where the list lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The lines that hold something, with their numbers from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let text = self.text.strip_prefix('\u{feff}').unwrap_or(&self.text);
        let numbered = text.lines().enumerate();
        numbered
            .map(|(number, line)| (number + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty())
    }

    /// What is the matter with a line.
    pub(super) fn fault(&self, line: usize, what: impl Display) -> DataError {
        self.trouble(Trouble::Line, line, what)
    }

    /// What is the matter with a line, of a kind of its own.
    pub(super) fn trouble(&self, kind: Trouble, line: usize, what: impl Display) -> DataError {
        DataError::new(kind, format_args!("{}:{line}: {what}", self.path.display()))
    }

    /// A line `number rest`.
    pub(super) fn numbered<'a>(
        &self,
        line: usize,
        text: &'a str,
    ) -> Result<(u32, &'a str), DataError> {
        let (number, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        Ok((self.number(line, number)?, rest.trim()))
    }

    /// A number on a line.
    pub(super) fn number<T: FromStr>(&self, line: usize, text: &str) -> Result<T, DataError> {
        let what = || {
            self.fault(
                line,
                format_args!("\"{text}\" is not a number as expected here; mend the line or copy the list again"),
            )
        };
        text.trim().parse().map_err(|_| what())
    }

    /// A path on a line, portable and inside the data set.
    pub(super) fn relative(&self, line: usize, text: &str) -> Result<String, DataError> {
        let path = text.trim().replace('\\', "/");
        let path = path.trim_start_matches("./");
        let drive = path.chars().nth(1) == Some(':');
        if path.is_empty() || path.starts_with('/') || drive || path.split('/').any(|p| p == "..") {
            return Err(self.fault(
                line,
                format_args!(
                    "\"{text}\" is not the name of a file inside the data set; write it relative to the pictures' folder"
                ),
            ));
        }
        Ok(path.to_owned())
    }
}

/// Classes from a list with one class a line: `n01440764 tench, Tinca tinca`, or a name alone.
pub(super) fn classes(path: impl Into<PathBuf>) -> Result<Vec<Class>, DataError> {
    let list = List::read(path)?;
    let mut classes = Vec::new();
    for (line, text) in list.lines() {
        let (key, name) = text
            .split_once(char::is_whitespace)
            .filter(|(key, _)| is_synset(key))
            .unwrap_or((text, text));
        if classes.iter().any(|class: &Class| class.key == key) {
            return Err(list.fault(
                line,
                format_args!("{key} is listed twice; remove one of the lines"),
            ));
        }
        classes.push(Class {
            key: key.to_owned(),
            name: name.trim().to_owned(),
        });
    }
    if classes.is_empty() {
        return Err(DataError::at(
            Trouble::Missing,
            list.path(),
            "is empty; it must name one class a line",
        ));
    }
    Ok(classes)
}

/// Whether this is the name of a WordNet synset, such as n01440764.
pub(super) fn is_synset(name: &str) -> bool {
    name.strip_prefix('n')
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The names of the pictures in a folder, sorted.
pub(super) fn pictures(folder: &Path) -> Result<Vec<String>, DataError> {
    let picture = |path: &Path| {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        ending.is_some_and(|ending| PICTURES.contains(&ending.as_str())) && !path.is_dir()
    };
    names(folder, picture)
}

/// The names of the folders in a folder, sorted.
pub(super) fn folders(folder: &Path) -> Result<Vec<String>, DataError> {
    names(folder, Path::is_dir)
}

/// Names in byte order, which is Python's order of code points too; hidden files are left out.
fn names(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<String>, DataError> {
    let unreadable = |e: std::io::Error| {
        DataError::at(
            Trouble::Missing,
            folder,
            format_args!("cannot be read as a folder: {e}; check the path"),
        )
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        if name.as_encoded_bytes().starts_with(b".") || !wanted(&path) {
            continue;
        }
        let Some(name) = name.to_str() else {
            return Err(DataError::at(
                Trouble::Missing,
                &path,
                "has a name that is not UTF-8; rename it",
            ));
        };
        names.push(name.to_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// `path` without the ending of its last part.
pub(super) fn stem(path: &str) -> &str {
    match path.rsplit_once('.') {
        Some((stem, ending)) if !ending.contains('/') && !stem.is_empty() => stem,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_paths_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        std::fs::write(&path, "\u{feff}1 a/b.jpg\r\n\n x ../c.jpg\n").unwrap();
        let list = List::read(&path).unwrap();
        let lines: Vec<_> = list.lines().collect();
        assert_eq!(lines, [(1, "1 a/b.jpg"), (3, "x ../c.jpg")]);
        assert_eq!(list.numbered(1, lines[0].1).unwrap(), (1, "a/b.jpg"));
        let error = list.numbered(3, lines[1].1).unwrap_err();
        assert_eq!(error.trouble(), Trouble::Line);
        assert!(error.to_string().contains("list.txt:3: \"x\""), "{error}");
        for outside in ["../c.jpg", "/c.jpg", "C:\\c.jpg", ""] {
            assert!(list.relative(1, outside).is_err(), "{outside}");
        }
        assert_eq!(list.relative(1, ".\\a\\b.jpg").unwrap(), "a/b.jpg");
    }

    #[test]
    fn stems_keep_folders_and_inner_dots() {
        for (path, want) in [
            ("001.Bird/a.b.jpg", "001.Bird/a.b"),
            ("001.Bird/a", "001.Bird/a"),
            ("a.png", "a"),
        ] {
            assert_eq!(stem(path), want);
        }
    }
}
