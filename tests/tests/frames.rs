//! Camera frames are seen as photos are.

use std::path::{Path, PathBuf};

use elucid_core::frame::{Frame, Pixels, Plane, prepare};
use elucid_core::simd::Isa;
use elucid_host::photo::Photo;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/resize/source.png")
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
