//! Insertion and deletion curves against those of the official scorer, on the golden networks.

use elucid_core::heat::quantize;
use elucid_core::math::exp;
use elucid_host::engine::{Engine, Method, Threads};
use elucid_host::metric::curve::{Batch, Curves, Ends, score};
use elucid_host::metric::perturbation::{Baseline, Normalisation, Perturbation};
use elucid_host::metric::ranking::{Ranking, Scorer, Walk};
use elucid_tests::golden::{self, Golden};
use elucid_tests::tensors::{Tensors, worst};

/// The networks whose curves there are.
const NETWORKS: [&str; 2] = ["basic_w8_32_random", "bottleneck_w4_32_random"];
/// The maps that were scored.
const MAPS: [&str; 4] = ["lrp", "lrp_q8", "gradcam", "ixg_sum"];
/// Patch and step.
const WALKS: [(usize, usize); 4] = [(1, 50), (2, 10), (4, 3), (8, 1)];
/// Largest difference of a probability, whose curve the official code computed in f32.
const CURVE: f64 = 1e-5;
/// Largest difference of an area.
const AREA: f64 = 1e-6;
/// Images of a batch: none of the curves fills its last one.
const IMAGES: usize = 15;
const SIZE: [usize; 2] = [32, 32];
const IMAGENET: Normalisation = Normalisation {
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
};

/// A golden network with the official curves.
struct Scored {
    golden: Golden,
    curves: Tensors,
}

impl Scored {
    fn all() -> impl Iterator<Item = Self> {
        NETWORKS.into_iter().map(|name| Self {
            golden: Golden::load(name),
            curves: Tensors::load(golden::path(name).join("insdel.safetensors")),
        })
    }

    fn map(&self, name: &str) -> Vec<f32> {
        self.curves.get(&format!("insdel.map.{name}")).to_f32()
    }

    /// The most probable class.
    fn top(&self) -> usize {
        let logits = self.golden.logits();
        let classes = 0..logits.len();
        classes
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap()
    }

    /// Scores `map` by the network's probability for its most probable class.
    fn score(&self, map: &[f32], walk: Walk) -> Curves {
        let model = self.golden.model.parse().unwrap();
        let threads = Threads::new(1).unwrap();
        let mut engine = Engine::new(&model, &threads);
        let method = Method {
            images: IMAGES,
            ..Method::new(None)
        };
        let mut explainer = engine.open(self.golden.image.shape, method).unwrap();
        let classes = model.classes() as usize;
        let mut logits = vec![0.0; IMAGES * classes];
        let mut full = vec![0.0; IMAGES * self.golden.image.values.len()];
        let (top, ranking) = (self.top(), Ranking::new(map, SIZE, SIZE, walk).unwrap());
        let image = &self.golden.image.values;
        let perturbation =
            Perturbation::new(image, SIZE, IMAGENET, Baseline::Black, walk.scorer).unwrap();
        let mut forward = |batch: &[f32], out: &mut [f64]| {
            full[..batch.len()].copy_from_slice(batch);
            explainer.forward(&full)?;
            explainer.logits(&mut logits)?;
            for (out, logits) in out.iter_mut().zip(logits.chunks(classes)) {
                *out = probability(logits, top);
            }
            Ok(())
        };
        let mut batch = Batch::new(IMAGES);
        let curves = score(&ranking, &perturbation, None, &mut batch, &mut forward).unwrap();
        // Known ends change nothing.
        let ends = Ends::of(&perturbation, &mut batch, &mut forward).unwrap();
        let same = score(
            &ranking,
            &perturbation,
            Some(ends),
            &mut batch,
            &mut forward,
        )
        .unwrap();
        assert_eq!(curves, same);
        curves
    }
}

/// Softmax of one class.
fn probability(logits: &[f32], class: usize) -> f64 {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let grown = |v: f32| exp(f64::from(v) - f64::from(most));
    grown(logits[class]) / logits.iter().map(|&v| grown(v)).sum::<f64>()
}

#[test]
fn paper_curves_are_the_official_ones() {
    let mut compared = 0;
    for scored in Scored::all() {
        for name in MAPS {
            let map = scored.map(name);
            for (patch, step) in WALKS {
                let curves = scored.score(
                    &map,
                    Walk {
                        patch,
                        step,
                        ..Walk::new(Scorer::Paper)
                    },
                );
                let case = format!("insdel.{name}.p{patch}.s{step}");
                let get = |what: &str| &scored.curves.get(&format!("{case}.{what}")).data;
                let mut largest = 0.0f64;
                for (got, want) in [
                    (&curves.insertion, get("ins")),
                    (&curves.deletion, get("del")),
                ] {
                    assert_eq!(got.len(), want.len(), "{case}");
                    for (got, want) in got.iter().zip(want) {
                        assert!((got - want).abs() <= CURVE, "{case}: {got}, not {want}");
                        largest = largest.max((got - want).abs());
                    }
                    compared += 1;
                }
                let areas = [curves.insertion_score(), curves.deletion_score()];
                for (got, want) in areas.iter().zip(get("auc")) {
                    assert!((got - want).abs() <= AREA, "{case}: area {got}, not {want}");
                }
                println!("{}, {case}: {largest:.1e}", scored.golden.name);
            }
        }
        let curves = scored.curves.names().filter(|n| n.ends_with("ins"));
        assert_eq!(
            curves.count(),
            MAPS.len() * WALKS.len(),
            "curves in the file"
        );
    }
    assert_eq!(compared, 2 * NETWORKS.len() * MAPS.len() * WALKS.len());
}

#[test]
fn the_quantized_map_is_the_official_one() {
    for scored in Scored::all() {
        let mut map = scored.map("lrp");
        quantize(&mut map, 8);
        let official = scored.map("lrp_q8");
        // Edges differ by a rounding; which pixels are tied and how they rank must not.
        let rank = |map: &[f32]| {
            let walk = Walk {
                step: 1,
                ..Walk::new(Scorer::Paper)
            };
            Ranking::new(map, SIZE, SIZE, walk).unwrap()
        };
        assert!(rank(&map) == rank(&official), "{}", scored.golden.name);
        let wanted = official.iter().map(|&v| v.into()).collect::<Vec<f64>>();
        let edges = worst(&map, &wanted);
        assert!(edges.error < 1e-7, "{}: {edges}", scored.golden.name);
    }
}

#[test]
fn strict_curves_run_from_black_to_the_image() {
    for scored in Scored::all() {
        for name in MAPS {
            let map = scored.map(name);
            let strict = |seed| {
                let walk = Walk {
                    step: 50,
                    seed,
                    ..Walk::new(Scorer::Strict)
                };
                scored.score(&map, walk)
            };
            let curves = strict(1);
            assert_eq!(curves.insertion.len(), 22);
            let logits: Vec<f32> = scored.golden.logits().iter().map(|&v| v as f32).collect();
            let whole = probability(&logits, scored.top());
            let ends = [curves.insertion[21], curves.deletion[0]];
            assert!(
                ends.iter().all(|p| (p - whole).abs() < 1e-6),
                "{ends:?}, {whole}"
            );
            assert_eq!(curves.insertion[0], curves.deletion[21]);
            assert_eq!(curves, strict(1), "{name}: the same seed");
            // Only these two have ties.
            assert_eq!(curves != strict(2), name == "gradcam" || name == "lrp_q8");
        }
    }
}
