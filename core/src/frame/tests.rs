use super::*;
use crate::model::{Filter, Fit};

const HOW: Preprocess = Preprocess {
    fit: Fit::ShortSide,
    resize: 4,
    crop: [4, 4],
    filter: Filter::Bilinear,
    order: ChannelOrder::Rgb,
    scale: 1.0,
    mean: [0.0; 3],
    std: [1.0; 3],
};

fn seen(frame: &Frame<'_>, how: &Preprocess) -> [f32; 48] {
    let (mut input, mut line) = ([9.0; 48], [0.0; 300]);
    prepare(Isa::detect(), frame, how, &mut input, &mut line).unwrap();
    input
}

fn plane(data: &[u8], stride: usize) -> Plane<'_> {
    Plane { data, stride }
}

#[test]
fn a_frame_of_the_right_size_is_only_normalised() {
    let bytes: [u8; 48] = core::array::from_fn(|i| (i * 5) as u8);
    let rgb = Frame::new(4, 4, Pixels::Rgb8(plane(&bytes, 12))).unwrap();
    assert_eq!(seen(&rgb, &HOW), bytes.map(f32::from));
    // A network of the other order sees a frame of the other order just so.
    let bgr = Frame::new(4, 4, Pixels::Bgr8(plane(&bytes, 12))).unwrap();
    let order = ChannelOrder::Bgr;
    assert_eq!(
        seen(&bgr, &Preprocess { order, ..HOW }),
        bytes.map(f32::from)
    );
    let floats = bytes.map(|b| f32::from(b) / 255.0);
    let data = Plane {
        data: &floats[..],
        stride: 12,
    };
    let float = Frame::new(4, 4, Pixels::RgbF32(data)).unwrap();
    for (got, want) in seen(&float, &HOW).into_iter().zip(bytes) {
        assert!((got - f32::from(want)).abs() < 1e-4);
    }
    let (mean, std) = ([1.0, 2.0, 3.0], [2.0, 4.0, 8.0]);
    let how = Preprocess { mean, std, ..HOW };
    assert_eq!(
        seen(&rgb, &how)[3..6],
        [(15.0 - 1.0) / 2.0, (20.0 - 2.0) / 4.0, (25.0 - 3.0) / 8.0]
    );
}

#[test]
fn the_middle_is_seen_and_shrunk_with_every_pixel_counted() {
    // 16 x 8: the middle 8 x 8, each pixel of the input the weighted mean of a neighbourhood. Lines have a stride.
    let mut bytes = [0u8; 8 * 50];
    for y in 0..8 {
        for x in 4..12 {
            bytes[y * 50 + 3 * x..][..3].copy_from_slice(&[100, 150, 200]);
        }
    }
    let frame = Frame::new(16, 8, Pixels::Rgb8(plane(&bytes, 50))).unwrap();
    let input = seen(&frame, &HOW);
    assert_eq!(input[3..6], [100.0, 150.0, 200.0]);
    // At the left, an eighth of the filter lies on black.
    assert_eq!(input[0], (100.0 * 7.0f32 / 8.0).round());
    // Squashed instead of cropped, the border is seen too.
    let fit = Fit::Squash;
    let squashed = seen(&frame, &Preprocess { fit, ..HOW });
    assert!(squashed[0] < 20.0 && squashed[6] > 80.0);
}

#[test]
fn a_small_picture_is_padded_with_black() {
    let bytes = [200u8; 12];
    let frame = Frame::new(2, 2, Pixels::Rgb8(plane(&bytes, 6))).unwrap();
    let how = Preprocess {
        resize: 2,
        mean: [1.0; 3],
        ..HOW
    };
    let input = seen(&frame, &how);
    for (i, v) in input.into_iter().enumerate() {
        let (x, y) = (i / 3 % 4, i / 12);
        let inside = (1..3).contains(&x) && (1..3).contains(&y);
        assert_eq!(v, if inside { 199.0 } else { -1.0 }, "{x} {y}");
    }
}

#[test]
fn luma_and_colour_differences_become_colours() {
    // Red in all four matrices; 3 x 3 pixels, so that a pair is cut.
    for (matrix, [y, u, v]) in [
        (Matrix::Bt601, [81, 90, 240]),
        (Matrix::Bt709, [63, 102, 240]),
        (Matrix::Bt601Full, [76, 85, 255]),
        (Matrix::Bt709Full, [54, 99, 255]),
    ] {
        let luma = [y; 9];
        let chroma: [u8; 8] = core::array::from_fn(|i| [u, v][i % 2]);
        let pixels = Pixels::Nv12(plane(&luma, 3), plane(&chroma, 4), matrix);
        let frame = Frame::new(3, 3, pixels).unwrap();
        for pixel in seen(&frame, &HOW).as_chunks::<3>().0 {
            let [r, g, b] = *pixel;
            assert!(r >= 252.0 && g <= 3.0 && b <= 3.0, "{matrix:?}: {pixel:?}");
        }
    }
}

#[test]
fn what_cannot_be_a_frame_is_an_error() {
    let bytes = [0u8; 100];
    for (width, height, stride) in [
        (0, 1, 9),
        (1, 0, 9),
        (MAX_SIDE + 1, 1, 99),
        (3, 2, 8),
        (3, 12, 9),
        (3, 3, usize::MAX),
    ] {
        let pixels = Pixels::Rgb8(plane(&bytes, stride));
        Frame::new(width, height, pixels).unwrap_err();
    }
    let short = Pixels::Nv12(plane(&bytes, 10), plane(&bytes[..49], 10), Matrix::Bt601);
    assert!(matches!(
        Frame::new(10, 10, short).unwrap_err(),
        Error::Length { need: 50, .. }
    ));
    // The last line needs no whole stride.
    Frame::new(3, 10, Pixels::Rgb8(plane(&bytes, 10))).unwrap();
    let frame = Frame::new(3, 10, Pixels::Rgb8(plane(&bytes, 10))).unwrap();
    let (mut input, mut line) = ([0.0; 48], [0.0; 8]);
    let error = prepare(Isa::Portable, &frame, &HOW, &mut input, &mut line).unwrap_err();
    assert!(matches!(error, Error::Capacity { need: 9, .. }));
    prepare(Isa::Portable, &frame, &HOW, &mut input[1..], &mut line).unwrap_err();
}
