//! From bytes to pixels: what a file is, and whether it is whole.

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::panic::catch_unwind;
use std::path::Path;

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    RgbImage,
};

use super::{MAX_FILE_BYTES, MAX_PIXELS};

/// Reads a file that begins like a picture.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => "cannot be read: no such file; check the path".to_string(),
        _ => format!("cannot be read: {error}"),
    };
    if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Err("is a folder; name a picture in it".to_string());
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(64)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    recognise(&bytes)?;
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!(
            "is larger than {} MiB; scale the picture down first",
            MAX_FILE_BYTES >> 20
        ));
    }
    Ok(bytes)
}

/// The format of a picture by its first bytes.
pub(super) fn recognise(bytes: &[u8]) -> Result<ImageFormat, String> {
    let head = &bytes[..bytes.len().min(64)];
    let has =
        |at: usize, pattern: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(pattern));
    let found = match image::guess_format(head) {
        _ if head.is_empty() => {
            return Err("is empty (0 bytes); copy or download it again".to_string());
        }
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)) => {
            return Ok(format);
        }
        _ if has(4, b"ftyphei") || has(4, b"ftypmif1") => "a HEIC photo",
        _ if has(0, b"%PDF") => "a PDF",
        _ if has(0, b"PK\x03\x04") => "a zip archive or PyTorch weights",
        _ if has(0, b"\x93NUMPY") => "a NumPy array, whose name must end in .npy",
        _ if has(0, b"<") => "a web page or a drawing in XML",
        Ok(format) => format
            .extensions_str()
            .first()
            .copied()
            .unwrap_or("another picture format"),
        Err(_) if head.iter().all(|&byte| byte == 0) => "nothing but zeros",
        Err(_)
            if !head
                .iter()
                .any(|&byte| byte < 0x20 && !byte.is_ascii_whitespace()) =>
        {
            "text"
        }
        Err(_) => "data of an unknown kind",
    };
    Err(format!(
        "is not a JPEG, PNG or WebP picture (it looks like {found}); convert it to one of these first"
    ))
}

fn damaged(why: &str) -> String {
    format!("is cut short or damaged ({why}); copy or download it again")
}

fn explain(error: ImageError) -> String {
    match error {
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            damaged("the data ends too early")
        }
        ImageError::Unsupported(why) => {
            format!("is of a kind that cannot be decoded ({why}); save it again as a PNG")
        }
        error => damaged(&error.to_string()),
    }
}

/// A decoder whose size in the header was checked.
fn decoder(bytes: &[u8], format: ImageFormat) -> Result<impl ImageDecoder + '_, String> {
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        // The decoder would fill the missing part with grey, and the network would explain the grey.
        return Err(damaged("the JPEG data has no end"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(8 * MAX_PIXELS + (64 << 20));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let limit = MAX_PIXELS / 1_000_000;
        return Err(format!(
            "has {width} x {height} pixels, more than {limit} million; scale it down first"
        ));
    }
    Ok(decoder)
}

/// Decodes to RGB, checking the size in the header first.
pub(super) fn decode(bytes: &[u8], format: ImageFormat) -> Result<RgbImage, String> {
    let mut decoder = decoder(bytes, format)?;
    let orientation = decoder.orientation().map_err(explain)?;
    let four_colors = decoder.original_color_type() == ExtendedColorType::Cmyk8;
    let pixels = if format == ImageFormat::Jpeg && !four_colors {
        decode_jpeg(bytes).map_err(|why| damaged(&why))?
    } else {
        DynamicImage::from_decoder(decoder)
            .map_err(explain)?
            .into_rgb8()
    };
    let mut upright = DynamicImage::ImageRgb8(pixels);
    upright.apply_orientation(orientation);
    Ok(upright.into_rgb8())
}

/// Decodes to the kind of pixel that the file holds, as it lies there.
pub(super) fn decode_stored(bytes: &[u8], format: ImageFormat) -> Result<DynamicImage, String> {
    DynamicImage::from_decoder(decoder(bytes, format)?).map_err(explain)
}

/// Decodes a grey or colour JPEG with libjpeg's arithmetic, as Pillow does: other decoders differ by a few levels, which
/// changes a map by up to a few percent of its maximum.
fn decode_jpeg(bytes: &[u8]) -> Result<RgbImage, String> {
    // The C library reports damage by unwinding.
    let decoded = catch_unwind(|| -> std::io::Result<Option<RgbImage>> {
        let mut rows = mozjpeg::Decompress::new_mem(bytes)?.rgb()?;
        let (width, height) = (rows.width() as u32, rows.height() as u32);
        let pixels: Vec<[u8; 3]> = rows.read_scanlines()?;
        rows.finish()?;
        Ok(RgbImage::from_raw(width, height, pixels.into_flattened()))
    });
    match decoded {
        Ok(Ok(Some(picture))) => Ok(picture),
        Ok(Ok(None)) => Err("rows are missing".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the JPEG data is not sound".to_owned()),
    }
}

/// Walks the markers of a JPEG to its end marker. In the compressed data every 0xff is followed by 0 or by a restart
/// mark, so the end marker cannot occur by chance; a thumbnail's end lies inside a segment that is skipped.
pub(super) fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[mark, code]) = bytes.get(at..at + 2) {
        at += match (mark, code, bytes.get(at + 2..at + 4)) {
            (0xff, 0xd9, _) => return true,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd7, _) => 2,
            (0xff, 0x02.., Some(&[high, low])) if code != 0xff => {
                2 + usize::from(u16::from_be_bytes([high, low]))
            }
            _ => 1,
        };
    }
    false
}
