//! Both ends of an explanation: the classes it starts with, and what is done to its map.

use elucid::lower::flow;
use elucid_core::Error;
use elucid_core::heat;
use elucid_core::op::head;
use elucid_core::rule::{Init, Target};
use elucid_emulator::Order;
use elucid_kernels::params::{SeedRequest, SeedResult, SeedStatus};

use crate::device::{Device, Random, assert_near, assert_same_bits, devices};

/// Seeds `targets` of each image and compares them with the CPU's.
fn seed_case(device: &Device, logits: &[f32], classes: usize, targets: &[Target], init: Init) {
    let images = logits.len() / classes;
    let each = targets.len() / images;
    let requests: Vec<SeedRequest> = targets
        .iter()
        .map(|&target| match target {
            Target::Predicted => SeedRequest { kind: 0, index: 0 },
            Target::Rank(index) => SeedRequest { kind: 0, index },
            Target::Class(index) => SeedRequest { kind: 1, index },
        })
        .collect();
    let maps = targets.len();
    let scores = device.tensor("logits", logits);
    let relevance = device.tensor("relevance", &vec![9.0; maps * classes]);
    let requests = device.emulator.upload("requests", &requests);
    let results = device.room::<SeedResult>("results", maps);
    device.do_as(|to| {
        flow::seed(
            to,
            (scores.address(), relevance.address()),
            (classes, images, each),
            init,
            (requests.address(), results.address()),
        );
    });
    let (relevance, results) = (relevance.values(), results.download::<SeedResult>());
    for (map, (&target, got)) in targets.iter().zip(results).enumerate() {
        let own = &logits[map / each * classes..][..classes];
        let row = &relevance[map * classes..][..classes];
        let what = format!("{classes} classes, {target:?}, {init:?}");
        match head::seed(own, target, init) {
            Ok(want) => {
                assert_eq!(got.status, SeedStatus::Well as u32, "{what}");
                assert_eq!(
                    (got.predicted, got.target),
                    (want.predicted, want.target),
                    "{what}"
                );
                assert_eq!(got.logit.to_bits(), want.logit.to_bits(), "{what}");
                let near = |got: f32, want: f32| {
                    assert_near(&[got], &[want], (1e-6, f32::MIN_POSITIVE * 1e6), &what);
                };
                near(got.probability, want.probability);
                near(got.relevance, want.relevance);
                for (class, &r) in row.iter().enumerate() {
                    let want = if class == want.target as usize {
                        got.relevance
                    } else {
                        0.0
                    };
                    assert_eq!(r.to_bits(), want.to_bits(), "{what}, class {class}");
                }
            }
            Err(error) => {
                let status = match error {
                    Error::NotFinite => SeedStatus::NotFinite,
                    _ => SeedStatus::NoClass,
                };
                assert_eq!(got.status, status as u32, "{what}");
                assert!(row.iter().all(|&r| r.to_bits() == 0), "{what}");
            }
        }
    }
}

#[test]
fn seeds_are_the_cpus() {
    for device in devices() {
        for classes in [1, 2, 5, 255, 257, 1000] {
            if !device.takes(classes) {
                continue;
            }
            let mut random = Random::new(classes);
            // Many equal ones.
            let mut logits: Vec<f32> = (0..2 * classes)
                .map(|_| match random.below(4) {
                    0 => 0.0,
                    1 => -0.0,
                    2 => random.below(5) as f32 - 2.0,
                    _ => random.draw() * 10.0,
                })
                .collect();
            let last = classes as u32 - 1;
            for (_, init) in Init::ALL.map(|(init, _)| ((), init)) {
                let targets = [
                    Target::Predicted,
                    Target::Rank(last),
                    Target::Rank(classes as u32 / 3),
                    Target::Rank(classes as u32),
                    Target::Class(last),
                    Target::Class(classes as u32),
                    Target::Class(u32::MAX),
                    Target::Rank(last.min(1)),
                ];
                seed_case(&device, &logits, classes, &targets, init);
            }
            for unsound in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                logits[classes - 1] = unsound;
                let targets = [Target::Predicted, Target::Class(0)];
                seed_case(&device, &logits, classes, &targets, Init::One);
            }
        }
    }
}

#[test]
fn every_rank_is_the_cpus() {
    for device in devices() {
        let mut random = Random::new(7);
        let logits: Vec<f32> = (0..40).map(|_| random.below(6) as f32 - 2.5).collect();
        let targets: Vec<Target> = (0..41).map(Target::Rank).collect();
        seed_case(&device, &logits, 40, &targets, Init::Logit);
    }
}

#[test]
fn many_classes_are_no_trouble() {
    let device = Device {
        order: Order::Shuffled(3),
        ..devices().next().expect("there are some")
    };
    let classes = 65_536;
    let logits = Random::new(1).draws(classes);
    let targets = [Target::Rank(3), Target::Class(65_535)];
    seed_case(&device, &logits, classes, &targets, Init::Probability);
    // Logits whose exponentials a float doesn't hold.
    let wide: Vec<f32> = logits.iter().map(|l| l * 1e30).collect();
    seed_case(
        &device,
        &wide,
        classes,
        &[Target::Rank(1)],
        Init::Probability,
    );
}

/// Maps of every kind, with those that stay as they are.
fn maps(count: usize) -> Vec<Vec<f32>> {
    let mut random = Random::new(count);
    let relevance: Vec<f32> = (0..count).map(|_| random.draw().powi(5)).collect();
    let mut small = relevance.clone();
    small.iter_mut().for_each(|v| *v *= 1e-40);
    let mut large = relevance.clone();
    large.iter_mut().for_each(|v| *v *= 3.4e38);
    let mut unsound = relevance.clone();
    unsound[count / 2] = f32::NAN;
    let mut infinite = relevance.clone();
    infinite[count / 3] = f32::NEG_INFINITY;
    let even = (0..count).map(|i| (i % 8) as f32 / 7.0).collect();
    vec![
        relevance,
        small,
        large,
        unsound,
        infinite,
        even,
        vec![2.5; count],
    ]
}

#[test]
fn quantization_equals_the_cpus() {
    for device in devices() {
        for count in [1, 2, 255, 1000, 5000] {
            if !device.takes(count) {
                continue;
            }
            for (kind, map) in maps(count).into_iter().enumerate() {
                for levels in [0, 1, 2, 3, 8, 256, 1000] {
                    let mut want = map.clone();
                    heat::quantize(&mut want, levels);
                    let got = device.tensor("map", &map);
                    let work = device.room::<u8>("work", flow::HEAT_WORK);
                    let (at, work) = (got.address(), work.address());
                    device.do_as(|to| flow::quantize(to, at, count, levels, work));
                    let what = format!("map {kind} of {count}, {levels} levels");
                    assert_same_bits(&got.values(), &want, &what);
                }
            }
        }
    }
}

#[test]
fn normalised_maps_go_from_0_to_1() {
    for device in devices() {
        for count in [1, 2, 255, 5000] {
            if !device.takes(count) {
                continue;
            }
            for (kind, map) in maps(count).into_iter().enumerate() {
                let low = map.iter().copied().fold(f32::INFINITY, f32::min);
                let high = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let spread = high - low;
                let sound = spread > 0.0 && spread.is_finite() && !map.iter().any(|v| v.is_nan());
                let of = |&v: &f32| if sound { (v - low) / spread } else { v };
                let want: Vec<f32> = map.iter().map(of).collect();
                let got = device.tensor("map", &map);
                let work = device.room::<u8>("work", flow::HEAT_WORK);
                let (at, work) = (got.address(), work.address());
                device.do_as(|to| flow::normalize(to, at, count, work));
                assert_same_bits(&got.values(), &want, &format!("map {kind} of {count}"));
            }
        }
    }
}
