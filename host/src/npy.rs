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

/// An array of floats whose last two axes are rows and columns.
struct Planes {
    /// In the order of the file.
    values: Vec<f32>,
    shape: Vec<u64>,
    /// Distance of neighbours along each axis, in values.
    strides: Vec<usize>,
}

impl Planes {
    /// Reads an array of f32 or f64, in C or Fortran order and either byte order. `fits` says what is wrong with a shape.
    fn read(path: &Path, fits: impl FnOnce(&[u64]) -> Result<(), String>) -> Result<Self> {
        let name = path.display();
        let file = File::open(path).map_err(|error| match error.kind() {
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
        if let Err(matter) = fits(&shape) {
            bail!("{name} has the shape {shape:?}{matter}");
        }
        let [.., height, width] = shape[..] else {
            bail!("{name} has the shape {shape:?}, which has no rows and columns");
        };
        ensure!(
            height > 0 && width > 0,
            "{name} has the shape {shape:?}, which holds no pixels"
        );
        ensure!(
            height.max(width) <= MAX_SIDE && height * width <= MAX_PIXELS,
            "{name} has the shape {shape:?}; elucid reads at most {MAX_SIDE} pixels a side and {MAX_PIXELS} in all"
        );

        let strides = array
            .strides()
            .iter()
            .map(|&stride| stride as usize)
            .collect();
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
        Ok(Self {
            values,
            shape,
            strides,
        })
    }

    /// Rows and columns.
    fn size(&self) -> [usize; 2] {
        let [.., height, width] = self.shape[..] else {
            return [0; 2];
        };
        [height as usize, width as usize]
    }

    /// Channels; 1 if there is no axis for them.
    fn channels(&self) -> usize {
        self.shape
            .iter()
            .rev()
            .nth(2)
            .map_or(1, |&channels| channels as usize)
    }

    fn at(&self, channel: usize, y: usize, x: usize) -> f32 {
        let mut strides = self.strides.iter().rev();
        let places = [x, y, channel].into_iter();
        let at: usize = places
            .map(|place| place * strides.next().copied().unwrap_or(0))
            .sum();
        self.values[at]
    }
}

/// Reads an already normalised network input.
///
/// The file holds f32 or f64 of shape `[3, H, W]` or `[1, 3, H, W]`, in C or Fortran order and either byte order. The
/// result is `[h, w, 3]`, channels last, with `h` and `w`.
///
/// # Errors
/// One line each, with the mend: no such file, not `.npy`, another shape or dtype, data cut short, NaN or infinity.
pub fn read_image(path: impl AsRef<Path>) -> Result<(Vec<f32>, usize, usize)> {
    let name = path.as_ref().display();
    let planes = Planes::read(path.as_ref(), |shape| match *shape {
        [3, _, _] | [1, 3, _, _] => Ok(()),
        [_, _, 3] | [1, _, _, 3] => Err(
            ", channels last; elucid reads [3, H, W]: save numpy.moveaxis(x, -1, -3)".to_owned(),
        ),
        [count, 3, _, _] if count > 1 => {
            Err(format!(", {count} images; elucid reads one: save x[0]"))
        }
        _ => Err("; elucid reads one image of shape [3, H, W] or [1, 3, H, W]".to_owned()),
    })?;
    let [height, width] = planes.size();
    let mut image = Vec::with_capacity(planes.values.len());
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let value = planes.at(c, y, x);
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

/// Reads a map that any program made: f32 or f64 of shape `[H, W]`, or `[C, H, W]`, whose channels `reduce` puts together. The
/// result is `[h, w]`, with `[h, w]`.
///
/// # Errors
/// As for [`read_image`].
pub fn read_map(
    path: impl AsRef<Path>,
    reduce: impl Fn(&[f32]) -> f32,
) -> Result<(Vec<f32>, [usize; 2])> {
    let name = path.as_ref().display();
    let planes = Planes::read(path.as_ref(), |shape| match *shape {
        [_, _] | [1..=4, _, _] => Ok(()),
        _ => Err(
            "; elucid reads maps of shape [H, W], or [C, H, W] with up to 4 channels".to_owned(),
        ),
    })?;
    let [height, width] = planes.size();
    let mut map = Vec::with_capacity(height * width);
    let mut pixel = Vec::new();
    for y in 0..height {
        for x in 0..width {
            pixel.clear();
            pixel.extend((0..planes.channels()).map(|c| planes.at(c, y, x)));
            let value = reduce(&pixel);
            ensure!(
                value.is_finite(),
                "{name} holds {value} at row {y}, column {x}; a map must be finite numbers"
            );
            map.push(value);
        }
    }
    Ok((map, [height, width]))
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
    write(path, map, &[height as u64, width as u64])
}

/// Writes values of any shape, row-major, as a little-endian f32 array.
///
/// # Errors
/// [`crate::atomic::write`] failed, or the values don't fill the shape.
pub fn write(path: impl AsRef<Path>, values: &[f32], shape: &[u64]) -> Result<()> {
    crate::atomic::write(path, |out: &mut dyn Write| {
        let mut array = npyz::WriteOptions::new()
            .dtype(DType::Plain("<f4".parse()?))
            .shape(shape)
            .writer(out)
            .begin_nd()?;
        array.extend(values.iter().copied())?;
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
