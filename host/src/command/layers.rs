//! The table of `elucid bench --layers`: the time of every step, its rate, and the same layer elsewhere.

use std::time::Duration;

use elucid_core::Model;
use elucid_core::plan::{Act, Plan};
use serde::Serialize;

use super::against::Layers;
use super::plan::{act, flops, node_name};
use super::say::say;

/// One step.
#[derive(Serialize)]
pub struct Layer {
    act: &'static str,
    node: String,
    output: [u32; 3],
    ms: f64,
    gflops: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    share_of_peak: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    torch_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    onnxruntime_ms: Option<f64>,
}

/// All steps with the best of their times. The others' layers stand beside forward passes alone.
pub fn table(
    model: &Model<'_>,
    plan: &Plan<'_>,
    best: &[Duration],
    peak: Option<f64>,
    others: Option<&[Layers; 2]>,
) -> Vec<Layer> {
    let steps = plan.steps().iter().zip(best);
    steps
        .map(|(step, time)| {
            let seconds = time.as_secs_f64().max(1e-9);
            let rate = flops(model, plan, step) as f64 / seconds;
            let other = |which: usize| {
                let layers = others.filter(|_| step.act == Act::Forward)?;
                layers[which].get(&step.node).copied()
            };
            Layer {
                act: act(step),
                node: node_name(model, step),
                output: step.shapes[1].to_array(),
                ms: seconds * 1e3,
                gflops: rate / 1e9,
                share_of_peak: peak.map(|peak| rate / peak),
                torch_ms: other(0),
                onnxruntime_ms: other(1),
            }
        })
        .collect()
}

/// Prints the table, with the others' columns if they took part.
pub fn print(layers: &[Layer], others: bool) {
    let columns = if others {
        format!(" {:>10} {:>10}", "PyTorch ms", "ORT ms")
    } else {
        String::new()
    };
    say!(
        "{:<9} {:<22} {:>18} {:>9} {:>9} {:>6}{columns}",
        "act",
        "node",
        "output",
        "ms",
        "GFLOP/s",
        "% peak"
    );
    for layer in layers {
        let [h, w, c] = layer.output;
        let shape = format!("{h} x {w} x {c}");
        let other = |ms: Option<f64>| {
            let text = ms.map_or("-".to_owned(), |ms| format!("{ms:.3}"));
            if others {
                format!(" {text:>10}")
            } else {
                String::new()
            }
        };
        let share = layer.share_of_peak;
        let share = share.map_or("-".to_owned(), |s| format!("{:.1}", s * 100.0));
        say!(
            "{:<9} {:<22} {shape:>18} {:>9.3} {:>9.1} {share:>6}{}{}",
            layer.act,
            layer.node,
            layer.ms,
            layer.gflops,
            other(layer.torch_ms),
            other(layer.onnxruntime_ms)
        );
    }
    say!("");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PlanMemory;
    use crate::model_file::ModelBytes;
    use elucid_core::plan::Options;
    use elucid_core::rule::{Composite, Split};

    #[test]
    fn layers_are_matched_by_node_on_the_way_forwards() {
        let bytes = ModelBytes::open(None).unwrap();
        let model = bytes.parse().unwrap();
        let options = Options::new(model.input_shape(), Some(Composite::exact(Split::Ratio)));
        let mut memory = PlanMemory::new(&model);
        let plan = memory.plan(&model, &options).unwrap();
        let best = vec![Duration::from_millis(2); plan.steps().len()];
        // Node 1 is the first convolution; ONNX Runtime's profile doesn't know it.
        let others = [Layers::from([(1, 0.5)]), Layers::new()];
        let layers = table(&model, &plan, &best, Some(1e9), Some(&others));
        assert_eq!(layers.len(), plan.steps().len());
        let known: Vec<_> = layers.iter().filter(|l| l.torch_ms.is_some()).collect();
        assert_eq!(known.len(), 1);
        assert_eq!((known[0].act, known[0].torch_ms), ("forward", Some(0.5)));
        assert!(
            layers
                .iter()
                .all(|l| l.onnxruntime_ms.is_none() && l.ms == 2.0)
        );
        let conv = known[0];
        let share = conv.share_of_peak.unwrap();
        assert!((share - conv.gflops).abs() < 1e-9, "the peak is 1 GFLOP/s");
    }
}
