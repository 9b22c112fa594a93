//! Files that are either whole or not there: every result elucid writes (pictures, maps, models, summaries) goes
//! through [`write()`], which fills a temporary file beside the target and renames it into place. A run that is
//! interrupted or fails halfway leaves the old file, or none, and never a half written one.

use std::fs::{File, Permissions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

/// What the names of unfinished files begin with: a killed process leaves one beside what it was about to write.
pub const UNFINISHED: &str = ".elucid-";

/// Writes `path` through `fill`, all or nothing.
///
/// `fill` gets a buffered writer. The bytes reach the disk before the rename, so a power cut does not leave an empty
/// file. A new file has the ordinary permissions (0666 less the umask), not those of a temporary file. A symbolic link
/// stays a link and its target is replaced; a device or pipe such as `/dev/null` is written to directly.
///
/// # Errors
/// One line each: a missing or unwritable folder, a folder in the target's place, a full disk, or whatever `fill`
/// returns, with the path in front.
pub fn write(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let shown = path.as_ref().display();
    let target = follow_link(path.as_ref());
    match std::fs::metadata(&target) {
        Ok(found) if found.is_dir() => {
            bail!(
                "cannot write {shown}: it is a folder; add a file name, for example {}",
                target.join("out").display()
            );
        }
        Ok(found) if !found.is_file() => {
            let device = File::options()
                .write(true)
                .open(&target)
                .with_context(|| format!("cannot write {shown}"))?;
            return fill_and_flush(BufWriter::new(device), fill)
                .map(drop)
                .with_context(|| format!("cannot write {shown}"));
        }
        _ => {}
    }
    if target.file_name().is_none() {
        bail!("cannot write {shown}: it does not name a file; add a file name");
    }

    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match std::fs::metadata(folder) {
        Ok(found) if !found.is_dir() => bail!(
            "cannot write {shown}: {} is a file, not a folder",
            folder.display()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = folder.display();
            bail!(
                "cannot write {shown}: the folder {folder} does not exist; create it first (mkdir -p {folder})"
            );
        }
        _ => {}
    }

    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED).suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(Permissions::from_mode(0o666));
    }
    let temporary = builder
        .tempfile_in(folder)
        .map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                anyhow!(
                    "cannot write {shown}: no permission to write in the folder {}; choose another",
                    folder.display()
                )
            }
            _ => anyhow!("cannot write {shown}: {}", tempfile_reason(&error)),
        })?;

    let temporary = fill_and_flush(BufWriter::new(temporary), fill)
        .with_context(|| format!("cannot write {shown}"))?;
    temporary
        .as_file()
        .sync_all()
        .with_context(|| format!("cannot write {shown}"))?;
    temporary
        .persist(&target)
        .map_err(|error| anyhow!("cannot write {shown}: {}", error.error))?;
    Ok(())
}

/// Runs `fill` over the buffer and hands the emptied writer back. On failure the writer is dropped, and with it the
/// temporary file.
fn fill_and_flush<W: Write>(
    mut buffer: BufWriter<W>,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<W> {
    fill(&mut buffer)?;
    Ok(buffer.into_inner().map_err(|error| error.into_error())?)
}

/// The file behind a symbolic link, so that the rename replaces the file and keeps the link. A dangling or circular
/// link is replaced itself.
fn follow_link(path: &Path) -> PathBuf {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_symlink() => {
            path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
        }
        _ => path.to_path_buf(),
    }
}

/// The system's reason without the random name of the temporary file, which tells a reader nothing.
fn tempfile_reason(error: &std::io::Error) -> String {
    error
        .to_string()
        .split(" at path")
        .next()
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn put(path: &Path, text: &str) -> Result<()> {
        write(path, |out| Ok(out.write_all(text.as_bytes())?))
    }

    #[test]
    fn writes_and_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.npy");
        put(&path, "first").unwrap();
        put(&path, "second").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(names(folder.path()), ["map.npy"]);
    }

    #[test]
    fn a_failure_keeps_the_old_file_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.png");
        put(&path, "old").unwrap();
        let error = write(&path, |out| {
            out.write_all(&vec![0; 100_000])?;
            bail!("the encoder gave up")
        })
        .unwrap_err();
        let line = format!("{error:#}");
        assert!(
            line.starts_with("cannot write ") && line.ends_with("out.png: the encoder gave up"),
            "{line}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["out.png"]);
    }

    #[test]
    fn a_missing_folder_says_how_to_make_it() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("a/b");
        let error = put(&missing.join("out.png"), "").unwrap_err().to_string();
        let expected = format!(
            "the folder {0} does not exist; create it first (mkdir -p {0})",
            missing.display()
        );
        assert!(error.ends_with(&expected), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn a_folder_or_a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = put(folder.path(), "").unwrap_err().to_string();
        assert!(error.contains("it is a folder; add a file name"), "{error}");
        let file = folder.path().join("plain");
        put(&file, "text").unwrap();
        let error = put(&file.join("out.png"), "").unwrap_err().to_string();
        assert!(error.contains("is a file, not a folder"), "{error}");
        assert!(put(Path::new(""), "").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn ordinary_permissions_links_and_devices() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        put(&ours, "x").unwrap();
        File::create(&theirs).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(
            mode(&ours),
            mode(&theirs),
            "the permissions of any other new file under this umask"
        );

        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&ours, &link).unwrap();
        put(&link, "through the link").unwrap();
        assert!(
            std::fs::symlink_metadata(&link)
                .unwrap()
                .file_type()
                .is_symlink()
        );
        assert_eq!(std::fs::read_to_string(&ours).unwrap(), "through the link");

        put(Path::new("/dev/null"), "gone").unwrap();
        assert!(
            std::fs::metadata("/dev/null")
                .unwrap()
                .file_type()
                .is_char_device()
        );
    }
}
