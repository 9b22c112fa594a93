//! Compiled code on disk: a file for each kernel file, architecture, compiler and way of compiling.
//!
//! An entry says what it was made of and carries a checksum; one that is cut off, damaged or of something else counts as
//! missing and is written again. Entries are written beside their place and renamed, so processes that run at once
//! disturb nobody. Whatever fails here costs time and nothing else: the worst is a note.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, process};

/// The environment variable that names the folder; empty for none.
pub const VARIABLE: &str = "ELUCID_CACHE";

/// The first bytes of an entry.
const MAGIC: &[u8; 8] = b"ELCODE\x00\x01";

/// Bytes before the code: magic, what it was made of (digest and length), length and checksum of the code.
const HEADER: usize = 8 + 16 + 8 + 8 + 16;

/// What code is made of: everything that would change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    digest: u128,
    len: u64,
}

impl Key {
    /// The key of some texts in order. Where one ends and the next begins matters.
    #[must_use]
    pub fn new<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut key = Self {
            digest: FNV_START,
            len: 0,
        };
        for text in texts {
            key.digest = fnv(key.digest, &(text.len() as u64).to_le_bytes());
            key.digest = fnv(key.digest, text.as_bytes());
            key.len += text.len() as u64;
        }
        key
    }
}

const FNV_START: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// FNV-1a of 128 bits, gone on with.
fn fnv(start: u128, bytes: &[u8]) -> u128 {
    bytes.iter().fold(start, |hash, &byte| {
        (hash ^ u128::from(byte)).wrapping_mul(FNV_PRIME)
    })
}

/// The folder, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// The folder that the environment says: `ELUCID_CACHE`, or `elucid` in the user's folder for such things.
    #[must_use]
    pub fn of_environment() -> Self {
        Self {
            folder: folder(|name| env::var_os(name).map(PathBuf::from)),
        }
    }

    /// A cache in this folder, which is made when something is written.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: Some(folder.to_owned()),
        }
    }

    /// No cache: everything is compiled every time.
    #[must_use]
    pub const fn none() -> Self {
        Self { folder: None }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// What there is to say of it: where it is, and how much it holds or why it can't be used.
    #[must_use]
    pub fn describe(&self) -> String {
        let Some(folder) = &self.folder else {
            return "none: kernels are compiled in every run; set ELUCID_CACHE to a folder, or HOME"
                .to_owned();
        };
        let shown = folder.display();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return match writable_parent(folder) {
                    true => format!("{shown} (not there yet)"),
                    false => format!(
                        "{shown} can't be made: kernels are compiled in every run; set ELUCID_CACHE to a folder that can be written"
                    ),
                };
            }
            Err(e) => {
                return format!(
                    "{shown} can't be read ({e}): kernels are compiled in every run; set ELUCID_CACHE to another folder"
                );
            }
        };
        let sizes = entries
            .flatten()
            .filter(|e| e.path().extension().is_some_and(|e| e == EXTENSION))
            .filter_map(|e| e.metadata().ok());
        let (count, bytes) = sizes.fold((0, 0), |(n, sum), m| (n + 1, sum + m.len()));
        let state = format!("{shown} ({count} entries, {:.1} MB)", bytes as f64 / 1e6);
        match fs::metadata(folder) {
            Ok(m) if m.permissions().readonly() => {
                format!(
                    "{state}, read-only: what is new isn't kept; set ELUCID_CACHE to another folder"
                )
            }
            _ => state,
        }
    }

    /// Where an entry lies.
    fn path(&self, name: &str, key: Key) -> Option<PathBuf> {
        let file = format!("{name}-{:032x}.{EXTENSION}", key.digest);
        self.folder.as_ref().map(|folder| folder.join(file))
    }

    /// The code of an entry, if it is there and sound. `name` is the part of the file's name that people read.
    #[must_use]
    pub fn get(&self, name: &str, key: Key) -> Option<Vec<u8>> {
        let bytes = fs::read(self.path(name, key)?).ok()?;
        open(&bytes, key).map(<[u8]>::to_vec)
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// One line that says why it couldn't be written.
    pub fn put(&self, name: &str, key: Key, code: &[u8]) -> Result<(), String> {
        let Some(path) = self.path(name, key) else {
            return Ok(());
        };
        write(&path, &seal(code, key)).map_err(|e| {
            let folder = self.folder.as_deref().unwrap_or(Path::new("")).display();
            format!(
                "compiled kernels can't be kept in {folder} ({e}), so every run compiles them again; set ELUCID_CACHE to a folder that can be written"
            )
        })
    }
}

/// What entries end in.
const EXTENSION: &str = "code";

/// The folder by the values of environment variables.
fn folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|v| !v.as_os_str().is_empty());
    match variable(VARIABLE) {
        Some(chosen) => Some(chosen).filter(|v| !v.as_os_str().is_empty()),
        None => {
            let own = set("XDG_CACHE_HOME").filter(|v| v.is_absolute());
            let own = own.or_else(|| set("HOME").map(|home| home.join(".cache")));
            own.map(|folder| folder.join("elucid"))
        }
    }
}

/// Whether the nearest folder that exists isn't read-only.
fn writable_parent(folder: &Path) -> bool {
    let nearest = folder.ancestors().find_map(|f| fs::metadata(f).ok());
    nearest.is_some_and(|m| m.is_dir() && !m.permissions().readonly())
}

/// An entry's bytes.
fn seal(code: &[u8], key: Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + code.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&key.digest.to_le_bytes());
    bytes.extend_from_slice(&key.len.to_le_bytes());
    bytes.extend_from_slice(&(code.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&fnv(FNV_START, code).to_le_bytes());
    bytes.extend_from_slice(code);
    bytes
}

/// The code of an entry that is whole and of this key.
fn open(bytes: &[u8], key: Key) -> Option<&[u8]> {
    let (header, code) = bytes.split_at_checked(HEADER)?;
    (*header == seal(code, key)[..HEADER] && !code.is_empty()).then_some(code)
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let unique = format!(
        ".{}-{}.new",
        process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let beside = folder.join(unique);
    let written = fs::File::create(&beside)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is left of it is of no use; that it can't be removed either changes nothing.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of a test's own, removed in the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = env::temp_dir().join(format!("elucid-cache-{}-{name}", process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn entries(cache: &Cache) -> Vec<PathBuf> {
        let all = fs::read_dir(cache.folder().unwrap()).unwrap();
        all.map(|e| e.unwrap().path()).collect()
    }

    #[test]
    fn keys_tell_every_change_apart() {
        let keys = [
            Key::new(["ab", "c"]),
            Key::new(["a", "bc"]),
            Key::new(["ab", "c", ""]),
            Key::new(["abc"]),
            Key::new([]),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[..i].iter().all(|b| a != b && a.digest != b.digest));
        }
        assert_eq!(keys[0], Key::new(["ab", "c"]));
        // The published hash of "foobar".
        let known = 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18;
        assert_eq!(fnv(FNV_START, b"foobar"), known);
    }

    #[test]
    fn what_is_put_is_found_again_by_its_key_alone() {
        let scratch = Scratch::new("put");
        let cache = Cache::at(&scratch.0.join("made/when needed"));
        let (key, other) = (Key::new(["a"]), Key::new(["b"]));
        assert!(cache.describe().contains("not there yet"));
        assert_eq!(cache.get("split-sm_87", key), None);
        cache.put("split-sm_87", key, b"code").unwrap();
        assert_eq!(cache.get("split-sm_87", key).unwrap(), b"code");
        assert_eq!(cache.get("split-sm_87", other), None);
        assert_eq!(entries(&cache).len(), 1, "nothing is left beside it");
        assert!(cache.describe().contains("1 entries"));
        // Even an entry by the right name isn't believed if it is of something else.
        let there = cache.path("split-sm_87", key).unwrap();
        fs::rename(there, cache.path("split-sm_87", other).unwrap()).unwrap();
        assert_eq!(cache.get("split-sm_87", other), None);
    }

    #[test]
    fn damaged_entries_are_missing_and_written_again() {
        let scratch = Scratch::new("damaged");
        let cache = Cache::at(&scratch.0);
        let key = Key::new(["a"]);
        cache.put("k", key, b"machine code").unwrap();
        let path = cache.path("k", key).unwrap();
        let good = fs::read(&path).unwrap();
        for len in 0..good.len() {
            fs::write(&path, &good[..len]).unwrap();
            assert_eq!(cache.get("k", key), None, "{len} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            fs::write(&path, &bad).unwrap();
            assert_eq!(cache.get("k", key), None, "byte {at}");
        }
        let longer = [good.as_slice(), b"x"].concat();
        fs::write(&path, longer).unwrap();
        assert_eq!(cache.get("k", key), None);
        cache.put("k", key, b"machine code").unwrap();
        assert_eq!(cache.get("k", key).unwrap(), b"machine code");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_one_line() {
        let scratch = Scratch::new("file");
        let file = scratch.0.join("a file");
        fs::write(&file, b"").unwrap();
        let cache = Cache::at(&file);
        let key = Key::new(["a"]);
        let note = cache.put("k", key, b"code").unwrap_err();
        assert!(
            note.contains("ELUCID_CACHE") && !note.contains('\n'),
            "{note}"
        );
        assert_eq!(cache.get("k", key), None);
        assert!(cache.describe().contains("ELUCID_CACHE"));
        assert_eq!(Cache::none().put("k", key, b"code"), Ok(()));
        assert_eq!(Cache::none().get("k", key), None);
    }

    #[test]
    fn processes_that_write_at_once_leave_one_sound_entry() {
        let scratch = Scratch::new("at once");
        let cache = Cache::at(&scratch.0);
        let key = Key::new(["a"]);
        let code = vec![7u8; 100_000];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        cache.put("k", key, &code).unwrap();
                        assert_eq!(cache.get("k", key).unwrap(), code);
                    }
                });
            }
        });
        assert_eq!(entries(&cache).len(), 1);
    }

    #[test]
    fn the_folder_is_the_users() {
        let of = |set: &[(&str, &str)]| {
            folder(|name| {
                let found = set.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| PathBuf::from(value))
            })
        };
        let path = |p: &str| Some(PathBuf::from(p));
        assert_eq!(of(&[("ELUCID_CACHE", "/c"), ("HOME", "/h")]), path("/c"));
        assert_eq!(of(&[("ELUCID_CACHE", ""), ("HOME", "/h")]), None);
        let xdg = [("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(of(&xdg), path("/x/elucid"));
        let relative = [("XDG_CACHE_HOME", "x"), ("HOME", "/h")];
        assert_eq!(of(&relative), path("/h/.cache/elucid"));
        assert_eq!(of(&[]), None);
    }
}
