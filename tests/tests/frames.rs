//! Camera frames are seen as photos are: by the core, and through C in every format and with gaps between rows.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use elucid::ffi::{self, format};
use elucid_core::frame::{Frame, Pixels, Plane, prepare};
use elucid_core::model::Preprocess;
use elucid_core::simd::Isa;
use elucid_core::{Model, Shape};
use elucid_host::aligned::Aligned;
use elucid_host::architecture::{self, Network, Wanted};
use elucid_host::checkpoint::Checkpoint;
use elucid_host::classifier::Classifier;
use elucid_host::engine::Threads;
use elucid_host::import::{Options, import};
use elucid_host::metric::resize::bilinear;
use elucid_host::photo::Photo;
use image::RgbImage;
use image::imageops::{self, FilterType};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/resize/source.png")
}

/// Bytes between rows that are no pixels.
const GAP: u8 = 0xEE;

/// A frame in a camera's memory.
struct Camera {
    planes: [Aligned; 2],
    frame: ffi::Frame,
}

impl Camera {
    /// Planes of rows, each as `(bytes of a row, all rows)`, with a gap of `gap` bytes after each row but the last of a plane.
    fn new(
        (width, height): (u32, u32),
        format: u32,
        planes: [(usize, Vec<u8>); 2],
        gap: usize,
    ) -> Self {
        let stride = planes
            .each_ref()
            .map(|(line, _)| if gap == 0 { 0 } else { line + gap });
        let spread = planes.map(|(line, bytes)| {
            let mut rows = Vec::new();
            for row in bytes.chunks(line) {
                rows.extend_from_slice(row);
                rows.resize(rows.len() + gap, GAP);
            }
            rows.truncate(rows.len().saturating_sub(gap));
            Aligned::copy_of(&rows)
        });
        let frame = ffi::Frame {
            data: spread[0].bytes().as_ptr().cast(),
            bytes: spread[0].bytes().len(),
            stride: stride[0],
            chroma: spread[1].bytes().as_ptr().cast(),
            chroma_bytes: spread[1].bytes().len(),
            chroma_stride: stride[1],
            width,
            height,
            format,
            matrix: 0,
        };
        Self {
            planes: spread,
            frame,
        }
    }

    fn of_bytes(picture: &RgbImage, format: u32, gap: usize) -> Self {
        let mut bytes = picture.as_raw().clone();
        if format == format::BGR8 {
            bytes
                .as_chunks_mut::<3>()
                .0
                .iter_mut()
                .for_each(|p| p.swap(0, 2));
        }
        let line = 3 * picture.width() as usize;
        Self::new(
            picture.dimensions(),
            format,
            [(line, bytes), (1, vec![])],
            gap,
        )
    }

    fn of_floats(picture: &RgbImage, gap: usize) -> Self {
        let floats = picture.as_raw().iter().map(|&v| f32::from(v) / 255.0);
        let bytes = floats.flat_map(f32::to_ne_bytes).collect();
        let line = 12 * picture.width() as usize;
        Self::new(
            picture.dimensions(),
            format::RGB_F32,
            [(line, bytes), (1, vec![])],
            gap,
        )
    }

    fn of_video(video: &Video, matrix: usize, gap: usize) -> Self {
        let width = video.size.0 as usize;
        let planes = [
            (width, video.luma.clone()),
            (2 * width.div_ceil(2), video.chroma.clone()),
        ];
        let mut camera = Self::new(video.size, format::NV12, planes, gap);
        camera.frame.matrix = matrix as u32;
        camera
    }

    fn of_tensor((width, height): (u32, u32), values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
        let planes = [(12 * width as usize, bytes), (1, vec![])];
        Self::new((width, height), format::TENSOR_F32, planes, 0)
    }
}

/// Luma, and pairs of blue and red difference for 2 x 2 pixels.
struct Video {
    size: (u32, u32),
    luma: Vec<u8>,
    chroma: Vec<u8>,
}

/// For each matrix: whether luma goes from 0 to 255, what the red difference adds to red and to green, and the blue one to green and
/// to blue. As ITU-R BT.601 and BT.709 print them.
const MATRICES: [(bool, [f64; 4]); 4] = [
    (false, [1.402, -0.714_136, -0.344_136, 1.772]),
    (false, [1.5748, -0.468_124, -0.187_324, 1.8556]),
    (true, [1.402, -0.714_136, -0.344_136, 1.772]),
    (true, [1.5748, -0.468_124, -0.187_324, 1.8556]),
];

impl Video {
    /// A video made of a picture: not the same one, but one whose colours no matrix cuts off, so that it makes no difference whether they
    /// are converted before or after they are resized.
    fn of(picture: &RgbImage) -> Self {
        let (width, height) = picture.dimensions();
        let luma = picture.pixels().map(|p| p.0[1] / 3 + 60);
        let corners = (0..height)
            .step_by(2)
            .flat_map(|y| (0..width).step_by(2).map(move |x| (x, y)));
        let chroma = corners.flat_map(|(x, y)| {
            let [r, g, b] = picture.get_pixel(x, y).0.map(i32::from);
            [b - g, r - g].map(|difference| (128 + difference / 8) as u8)
        });
        Self {
            size: (width, height),
            luma: luma.collect(),
            chroma: chroma.collect(),
        }
    }

    /// The picture it shows.
    fn shown(&self, (full, [red, green_red, green_blue, blue]): (bool, [f64; 4])) -> RgbImage {
        let (width, height) = self.size;
        RgbImage::from_fn(width, height, |x, y| {
            let pair = 2 * (y / 2 * width.div_ceil(2) + x / 2) as usize;
            let luma = f64::from(self.luma[(y * width + x) as usize]);
            let [u, v] = [0, 1].map(|i| f64::from(self.chroma[pair + i]) - 128.0);
            let (luma, u, v) = if full {
                (luma, u, v)
            } else {
                let wide = 255.0 / 224.0;
                ((luma - 16.0) / 219.0 * 255.0, u * wide, v * wide)
            };
            let rgb = [
                luma + red * v,
                luma + green_red * v + green_blue * u,
                luma + blue * u,
            ];
            image::Rgb(rgb.map(|c| c.round().clamp(0.0, 255.0) as u8))
        })
    }
}

/// What an explainer makes of a frame.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    logits: Vec<f32>,
    map: Vec<f32>,
    /// The frame under the heat; empty for tensors, which can't be shown.
    overlay: Vec<u8>,
}

impl Seen {
    fn new(model: &[u8], camera: &Camera) -> Self {
        let frame = &camera.frame;
        assert!(camera.planes[0].bytes().len() == frame.bytes);
        let (mut info, mut answer) = (ffi::Info::default(), ffi::Answer::default());
        let (data, bytes) = (model.as_ptr().cast(), model.len());
        // SAFETY: every pointer is null or to a value or a buffer of the length beside it, and none outlives the explainer.
        unsafe {
            assert_eq!(
                ffi::elucid_measure(data, bytes, null(), null_mut(), 0, &mut info),
                0
            );
            let mut memory = vec![0u8; info.memory_bytes];
            let (room, mut explainer) = (memory.as_mut_ptr().cast(), null_mut());
            let status = ffi::elucid_open(data, bytes, null(), room, memory.len(), &mut explainer);
            assert_eq!(status, 0);
            let mut logits = vec![0f32; info.classes as usize];
            let (to, count) = (logits.as_mut_ptr(), logits.len());
            assert_eq!(
                ffi::elucid_classify(explainer, frame, &mut answer, to, count),
                0
            );
            assert_eq!(ffi::elucid_explain(explainer, null(), 0, &mut answer), 0);
            let mut map = vec![0f32; (info.width * info.height) as usize];
            let mut picture = ffi::Picture {
                data: map.as_mut_ptr().cast(),
                bytes: size_of_val(&map[..]),
                stride: 0,
                width: info.width,
                height: info.height,
                format: format::HEAT_F32,
                reserved: 0,
            };
            assert_eq!(ffi::elucid_heat(explainer, null(), &picture), 0);
            let mut overlay = vec![];
            if frame.format != format::TENSOR_F32 {
                overlay.resize(4 * frame.width as usize * frame.height as usize, 0);
                picture.data = overlay.as_mut_ptr().cast();
                picture.bytes = overlay.len();
                (picture.width, picture.height) = (frame.width, frame.height);
                picture.format = format::HEAT_RGBA8;
                assert_eq!(ffi::elucid_heat(explainer, frame, &picture), 0);
            }
            assert_eq!(ffi::elucid_close(explainer), 0);
            Self {
                logits,
                map,
                overlay,
            }
        }
    }

    /// What it makes of a photo as `elucid explain` feeds it to the network.
    fn photo(model: &[u8], picture: &RgbImage) -> Self {
        let how = Model::parse(model).unwrap().preprocess();
        let photo = Photo {
            rgb: picture.clone(),
            name: String::new(),
        };
        let image = photo.prepare(&how).unwrap().image;
        Self::new(
            model,
            &Camera::of_tensor((how.crop[1], how.crop[0]), &image),
        )
    }

    /// The largest difference of the logits, as a fraction of the largest logit of the other.
    fn off(&self, other: &Self) -> f32 {
        let pairs = self.logits.iter().zip(&other.logits);
        let most = |m: f32, v: f32| m.max(v.abs());
        let off = pairs.map(|(a, b)| a - b).fold(0.0, most);
        off / other.logits.iter().copied().fold(0.0, most)
    }
}

/// What an explainer makes of a frame, the same with and without gaps between its rows.
fn seen(model: &[u8], what: &str, camera: impl Fn(usize) -> Camera) -> Seen {
    let plain = Seen::new(model, &camera(0));
    // A multiple of 4, for floats.
    assert_eq!(Seen::new(model, &camera(20)), plain, "{what}, with gaps");
    plain
}

/// In every format a frame is what `elucid explain` makes of the same photo: of the network's own height, to the bit; resized, to what
/// rounding makes of it, and far from what another matrix makes of a video.
#[test]
fn formats_are_seen_through_c_as_photos_are() {
    let file = Aligned::copy_of(include_bytes!("../firmware/model/flowers32.elucid"));
    let model = file.bytes();
    let how = Model::parse(model).unwrap().preprocess();
    let photo = Photo::open(source()).unwrap().rgb;
    // Odd sides: the last colours of a video are those of one column or row.
    let (own, larger) = ((how.resize + 9, how.resize), (83, 61));
    for (width, height) in [own, (own.1, own.0), larger, (larger.1, larger.0)] {
        let picture = imageops::resize(&photo, width, height, FilterType::Triangle);
        let same = |got: &Seen, want: &Seen, what: &str| {
            let far = got.off(want);
            println!("{width} x {height}, {what}: off by {far:.4} of the largest logit");
            if width.min(height) == how.resize {
                assert_eq!((&got.logits, &got.map), (&want.logits, &want.map), "{what}");
            } else {
                assert!(far < 0.035, "{what}: {far}");
            }
        };
        let want = Seen::photo(model, &picture);
        let of_rgb = seen(model, "RGB", |gap| {
            Camera::of_bytes(&picture, format::RGB8, gap)
        });
        same(&of_rgb, &want, "RGB");
        let of_bgr = seen(model, "BGR", |gap| {
            Camera::of_bytes(&picture, format::BGR8, gap)
        });
        assert_eq!(of_bgr, of_rgb, "BGR");
        let of_floats = seen(model, "f32", |gap| Camera::of_floats(&picture, gap));
        same(&of_floats, &want, "f32");

        let video = Video::of(&picture);
        let shown = MATRICES.map(|formula| video.shown(formula));
        let wanted = shown.each_ref().map(|rgb| Seen::photo(model, rgb));
        for (matrix, want) in wanted.iter().enumerate() {
            let what = format!("NV12 by matrix {matrix}");
            let got = seen(model, &what, |gap| Camera::of_video(&video, matrix, gap));
            same(&got, want, &what);
            if width.min(height) == how.resize {
                let rgb = Camera::of_bytes(&shown[matrix], format::RGB8, 0);
                assert_eq!(got.overlay, Seen::new(model, &rgb).overlay, "{what}");
            }
            for (other, unwanted) in wanted.iter().enumerate().filter(|(m, _)| *m != matrix) {
                assert!(got.off(unwanted) > 0.06, "{what} is as by {other}");
            }
        }
    }
}

/// A camera's frame is seen as the program sees a photo: the same pixels to within one level of 255.
#[test]
fn frames_are_seen_as_photos_are() {
    let photo = Photo::open(source()).unwrap();
    let (w, h) = photo.rgb.dimensions();
    let data = Plane {
        data: &photo.rgb.as_raw()[..],
        stride: 3 * w as usize,
    };
    let frame = Frame::new(w, h, Pixels::Rgb8(data)).unwrap();
    let net = elucid_core::arch::resnet::Resnet::cifar(1, 4, 3);
    for name in ["imagenet", "clip", "caffe-bgr", "cifar"] {
        let how = elucid_host::preprocess::find(Some(name), &net).unwrap();
        let want = photo.prepare(&how).unwrap();
        let mut got = vec![0.0; want.image.len()];
        let mut line = vec![0.0; 3 * (w + how.crop[1]) as usize];
        prepare(Isa::detect(), &frame, &how, &mut got, &mut line).unwrap();
        let levels: Vec<f32> = got
            .iter()
            .zip(&want.image)
            .enumerate()
            .map(|(i, (g, want))| ((g - want) * how.std[i % 3] / how.scale).abs())
            .collect();
        let worst = levels.iter().fold(0f32, |m, v| m.max(*v));
        let above = |limit: f32| levels.iter().filter(|v| **v > limit).count();
        let (off, far) = (above(0.5), above(1.01));
        println!(
            "{name}: of {} values {off} differ, {far} by more than a level, at most {worst:.2}",
            got.len()
        );
        assert!(off * 4 <= got.len());
        assert_eq!(far, 0, "{name}");
    }
}

/// Through C a network with an adapter shows the adapter's own map, whatever rules were asked for.
#[test]
fn adapters_show_their_own_map_through_c() {
    let weights = elucid_tests::golden::path("ala").join("weights.safetensors");
    let checkpoint = Checkpoint::open(&weights).unwrap();
    let wanted = Wanted {
        heads: Some(3),
        ..Wanted::default()
    };
    let net = architecture::infer(&checkpoint, &wanted).unwrap();
    let how = Preprocess {
        resize: 96,
        crop: [80, 96],
        ..net.preprocess()
    };
    let options = Options {
        bn_eps: 1e-5,
        half: false,
        preprocess: how,
        classes: Vec::new(),
    };
    let file = Aligned::copy_of(&import(&checkpoint, &net, &options).unwrap());
    let picture = Photo::open(source()).unwrap();
    let got = Seen::photo(file.bytes(), &picture.rgb);
    let model = Model::parse(file.bytes()).unwrap();
    let threads = Threads::new(1).unwrap();
    let mut network = Classifier::new(&model, Shape::new(80, 96, 3), &threads);
    let image = picture.prepare(&how).unwrap().image;
    let node = model.find("attention_map").unwrap();
    let (logits, map, shape) = network.activation(&image, node).unwrap();
    assert_eq!((shape.h, shape.w), (5, 6));
    assert_eq!(got.logits, logits);
    let large = bilinear(&map, [5, 6], [80, 96]);
    assert_eq!(got.map.len(), large.len());
    for (a, b) in got.map.iter().zip(&large) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}
