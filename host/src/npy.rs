//! Arrays in NumPy's `.npy` format: reads a network input that somebody else prepared and writes relevance maps that
//! anybody can load with `numpy.load`. The input is `[3, H, W]` (or `[1, 3, H, W]`) as frameworks keep it and comes
//! out channels last; a map goes out as `[H, W]` in f32.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Write};
use std::path::Path;

use anyhow::{Result, anyhow, bail, ensure};
use npyz::{DType, NpyFile, TypeChar, WriterBuilder};

/// The largest side that [`read_image`] accepts, in pixels: a wrong header is refused before memory is spent.
pub const MAX_SIDE: u64 = 16_384;
/// The largest number of pixels that [`read_image`] accepts.
pub const MAX_PIXELS: u64 = 1 << 24;

/// Reads an already normalised network input.
///
/// The file holds f32 or f64 of shape `[3, H, W]` or `[1, 3, H, W]`, in C or Fortran order and either byte order. The
/// result is `[h, w, 3]`, channels last, with `h` and `w`.
///
/// # Errors
/// One line each, with the mend: no such file, not `.npy`, another shape or dtype, data cut short, NaN or infinity.
pub fn read_image(path: impl AsRef<Path>) -> Result<(Vec<f32>, usize, usize)> {
    let name = path.as_ref().display();
    let file = File::open(path.as_ref()).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("cannot read {name}: no such file; check the path"),
        _ => anyhow!("cannot read {name}: {error}"),
    })?;
    let metadata = file
        .metadata()
        .map_err(|error| anyhow!("cannot read {name}: {error}"))?;
    ensure!(
        !metadata.is_dir(),
        "cannot read {name}: it is a folder; name a .npy file"
    );
    ensure!(
        !metadata.is_file() || metadata.len() > 0,
        "{name} is empty (0 bytes); save the array again"
    );

    let array = NpyFile::new(BufReader::new(file)).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => {
            anyhow!("{name} is cut short inside its .npy header; save the array again")
        }
        _ => anyhow!("{name} is not a NumPy .npy file; write it with numpy.save"),
    })?;

    let shape = array.shape().to_vec();
    let (height, width) = match shape[..] {
        [3, height, width] | [1, 3, height, width] => (height, width),
        [_, _, 3] | [1, _, _, 3] => bail!(
            "{name} has the shape {shape:?}, channels last; elucid reads [3, H, W]: save numpy.moveaxis(x, -1, -3)"
        ),
        [count, 3, _, _] if count > 1 => {
            bail!("{name} has the shape {shape:?}, {count} images; elucid reads one: save x[0]");
        }
        _ => bail!(
            "{name} has the shape {shape:?}; elucid reads one image of shape [3, H, W] or [1, 3, H, W]"
        ),
    };
    let largest = height.max(width);
    ensure!(
        height > 0 && width > 0,
        "{name} has the shape {shape:?}, which holds no pixels"
    );
    ensure!(
        largest <= MAX_SIDE && height * width <= MAX_PIXELS,
        "{name} has the shape {shape:?}; elucid reads at most {MAX_SIDE} pixels a side and {MAX_PIXELS} in all"
    );

    let strides = array.strides().to_vec();
    let strides = [
        strides[shape.len() - 2],
        strides[shape.len() - 1],
        strides[shape.len() - 3],
    ]
    .map(|s| s as usize);
    let (height, width) = (height as usize, width as usize);
    let dtype = array.dtype();
    let float_size = match &dtype {
        DType::Plain(kind) if kind.type_char() == TypeChar::Float => kind.size_field(),
        _ => 0,
    };
    let values = match float_size {
        4 => array.into_vec::<f32>(),
        8 => array
            .into_vec::<f64>()
            .map(|wide| wide.into_iter().map(|value| value as f32).collect()),
        _ => bail!(
            "{name} holds {}; elucid reads f32 or f64: save x.astype(\"float32\")",
            dtype.descr()
        ),
    }
    .map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => {
            anyhow!(
                "{name} is cut short: its header promises the shape {shape:?}; save the array again"
            )
        }
        _ => anyhow!("cannot read {name}: {error}"),
    })?;

    let mut image = Vec::with_capacity(values.len());
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let value = values[y * strides[0] + x * strides[1] + c * strides[2]];
                ensure!(
                    value.is_finite(),
                    "{name} holds {value} at channel {c}, row {y}, column {x}; an image must be finite numbers"
                );
                image.push(value);
            }
        }
    }
    Ok((image, height, width))
}

/// Writes a map of `height` x `width` values, row by row, as a little-endian f32 array of shape `[H, W]`.
///
/// # Errors
/// `map` does not hold `height * width` values, or [`crate::atomic::write`] failed.
pub fn write_map(path: impl AsRef<Path>, map: &[f32], height: usize, width: usize) -> Result<()> {
    ensure!(
        map.len() == height * width,
        "a map of {height} x {width} cannot hold {} values",
        map.len()
    );
    crate::atomic::write(path, |out: &mut dyn Write| {
        let mut array = npyz::WriteOptions::new()
            .dtype(DType::Plain("<f4".parse()?))
            .shape(&[height as u64, width as u64])
            .writer(out)
            .begin_nd()?;
        array.extend(map.iter().copied())?;
        array.finish()?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use npyz::Order;
    use tempfile::TempDir;

    use super::*;

    fn save<T: npyz::Serialize + Copy>(
        folder: &TempDir,
        dtype: &str,
        shape: &[u64],
        order: Order,
        data: &[T],
    ) -> PathBuf {
        let path = folder.path().join("x.npy");
        let mut array = npyz::WriteOptions::new()
            .dtype(DType::Plain(dtype.parse().unwrap()))
            .shape(shape)
            .order(order)
            .writer(File::create(&path).unwrap())
            .begin_nd()
            .unwrap();
        array.extend(data.iter().copied()).unwrap();
        array.finish().unwrap();
        path
    }

    fn refusal(path: &Path) -> String {
        let line = read_image(path).unwrap_err().to_string();
        assert!(line.contains("x.npy") && !line.contains('\n'), "{line}");
        line
    }

    /// A value that tells where it came from: channel, row, column.
    fn mark(c: usize, y: usize, x: usize) -> f32 {
        (100 * c + 10 * y + x) as f32 - 0.5
    }

    #[test]
    fn channels_first_becomes_channels_last() {
        let folder = tempfile::tempdir().unwrap();
        let (height, width) = (2, 4);
        let expected: Vec<f32> = (0..height * width * 3)
            .map(|i| mark(i % 3, i / 3 / width, i / 3 % width))
            .collect();
        let rows = |c: usize| (0..height).flat_map(move |y| (0..width).map(move |x| mark(c, y, x)));
        let c_order: Vec<f32> = (0..3).flat_map(rows).collect();
        let fortran: Vec<f32> = (0..width)
            .flat_map(|x| (0..height).flat_map(move |y| (0..3).map(move |c| mark(c, y, x))))
            .collect();
        let wide: Vec<f64> = c_order.iter().map(|&v| v.into()).collect();

        let three = [3, height as u64, width as u64];
        let four = [1, 3, height as u64, width as u64];
        let want = (expected, height, width);
        assert_eq!(
            read_image(save(&folder, "<f4", &three, Order::C, &c_order)).unwrap(),
            want
        );
        assert_eq!(
            read_image(save(&folder, "<f4", &four, Order::C, &c_order)).unwrap(),
            want
        );
        assert_eq!(
            read_image(save(&folder, ">f4", &three, Order::C, &c_order)).unwrap(),
            want
        );
        assert_eq!(
            read_image(save(&folder, "<f8", &four, Order::C, &wide)).unwrap(),
            want
        );
        assert_eq!(
            read_image(save(&folder, "<f4", &three, Order::Fortran, &fortran)).unwrap(),
            want
        );
        assert_eq!(
            read_image(save(&folder, "<f4", &four, Order::Fortran, &fortran)).unwrap(),
            want
        );
    }

    #[test]
    fn wrong_arrays_are_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let ones = [1f32; 48];
        let refuse_shape = |shape: &[u64]| refusal(&save(&folder, "<f4", shape, Order::C, &ones));
        assert!(refuse_shape(&[4, 4, 3]).contains("numpy.moveaxis(x, -1, -3)"));
        assert!(refuse_shape(&[1, 4, 4, 3]).contains("numpy.moveaxis(x, -1, -3)"));
        assert!(refuse_shape(&[2, 3, 2, 4]).contains("2 images"));
        assert!(refuse_shape(&[48]).contains("[3, H, W]"));
        let integers = save(&folder, "<i4", &[3, 4, 4], Order::C, &[1i32; 48]);
        assert!(refusal(&integers).contains("astype(\"float32\")"));

        let mut odd = ones;
        odd[17] = f32::NAN;
        let line = refusal(&save(&folder, "<f4", &[3, 4, 4], Order::C, &odd));
        assert!(line.contains("NaN at channel 1, row 0, column 1"), "{line}");
    }

    #[test]
    fn broken_files_are_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = save(&folder, "<f4", &[3, 4, 4], Order::C, &[1f32; 48]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 4]).unwrap();
        assert!(refusal(&path).contains("cut short"));
        std::fs::write(&path, &whole[..40]).unwrap();
        assert!(refusal(&path).contains("cut short"));
        std::fs::write(&path, "not an array at all").unwrap();
        assert!(refusal(&path).contains("numpy.save"));
        std::fs::write(&path, "").unwrap();
        assert!(refusal(&path).contains("empty"));
        std::fs::remove_file(&path).unwrap();
        assert!(refusal(&path).contains("no such file"));
        std::fs::create_dir(&path).unwrap();
        assert!(refusal(&path).contains("folder"));

        // A header that promises a terabyte is refused by its shape, before anything is allocated.
        std::fs::remove_dir(&path).unwrap();
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 300000, 300000), }";
        let mut huge = b"\x93NUMPY\x01\x00".to_vec();
        huge.extend((text.len() as u16 + 1).to_le_bytes());
        huge.extend(text.bytes().chain([b'\n']));
        std::fs::write(&path, huge).unwrap();
        assert!(refusal(&path).contains("at most"));
    }

    #[test]
    fn a_map_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.npy");
        let map = [0.0, 1e-9, -2.5e-3, f32::NAN, 1.0, f32::MIN_POSITIVE];
        write_map(&path, &map, 2, 3).unwrap();
        let array = NpyFile::new(File::open(&path).unwrap()).unwrap();
        assert_eq!((array.shape(), array.order()), (&[2, 3][..], Order::C));
        let back: Vec<f32> = array.into_vec().unwrap();
        assert!(
            map.iter()
                .zip(&back)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
        assert!(write_map(&path, &map, 2, 2).is_err());
    }
}
