//! What is printed of an explanation.

use elucid_core::audit::TOLERANCE;
use serde::Serialize;

use super::say::say;

/// What is printed of one explanation.
#[derive(Serialize)]
pub struct Explanation {
    pub image: String,
    pub class_index: u32,
    pub class_name: Option<String>,
    pub probability: f64,
    pub target_index: u32,
    pub target_name: Option<String>,
    pub target_probability: f64,
    /// NaN, which JSON knows as null, of methods without a ledger.
    pub relevance_in: f64,
    pub relevance_sum: f64,
    pub conservation_error: f64,
    pub sinks: Sinks,
    pub balanced: bool,
    pub forward_ms: f64,
    /// All classes of the call together.
    pub explain_ms: f64,
    pub classes_explained: usize,
    pub arena_bytes: usize,
    pub backend: &'static str,
    /// Only of a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    pub method: String,
    /// Only of LRP.
    pub preset: Option<String>,
    pub split: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_step: Option<Line>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<Vec<Line>>,
}

#[derive(Serialize)]
pub struct Sinks {
    pub eps: f64,
    pub dead: f64,
    pub redistributed: f64,
}

/// A line of the ledger.
#[derive(Clone, Serialize)]
pub struct Line {
    pub act: String,
    pub node: String,
    pub relevance_in: f64,
    pub relevance_out: f64,
    pub eps: f64,
    pub dead: f64,
    pub redistributed: f64,
    pub unexplained: f64,
}

impl Explanation {
    /// The explained class, for people.
    pub fn target(&self) -> String {
        class(&self.target_name, self.target_index)
    }

    /// The predicted class, for people.
    pub fn predicted(&self) -> String {
        class(&self.class_name, self.class_index)
    }

    /// Prints the explanation, as JSON or for people.
    pub fn print(&self, json: bool) {
        let report = self;
        if json {
            match serde_json::to_string(report) {
                Ok(text) => say!("{text}"),
                Err(error) => eprintln!("elucid: {error}"),
            }
            return;
        }
        let said = self.predicted();
        say!(
            "{}: {said}, {:.1} %",
            report.image,
            100.0 * report.probability
        );
        if report.target_index != report.class_index {
            let target = self.target();
            say!(
                "  explained class  {target}, {:.1} %",
                100.0 * report.target_probability
            );
        }
        if report.relevance_in.is_finite() {
            say!(
                "  relevance        {} in, {} in the map (error {:.1e})",
                short(report.relevance_in),
                short(report.relevance_sum),
                report.conservation_error
            );
        } else {
            say!("  method           {}", report.method);
        }
        say!(
            "  time             forward {:.1} ms, explanation {:.1} ms{}",
            report.forward_ms,
            report.explain_ms,
            match report.classes_explained {
                1 => String::new(),
                n => format!(" for all {n} classes"),
            }
        );
        if let Some(device) = &report.device {
            say!("  computed on      {device}");
        }
        for (what, path) in [("picture", &report.picture), ("map", &report.map)] {
            if let Some(path) = path {
                say!("  {what:<16} {path}");
            }
        }
        if let Some(lines) = &report.audit {
            print_ledger(report, lines);
        }
        if !report.balanced {
            eprintln!(
                "elucid: {}: a step of the ledger does not balance to {TOLERANCE:.0e}; run with --audit to see which",
                report.image
            );
        }
    }
}

fn class(name: &Option<String>, index: u32) -> String {
    name.clone().unwrap_or_else(|| format!("class {index}"))
}

/// Four significant digits without a long tail of zeros.
pub fn short(v: f64) -> String {
    if v != 0.0 && !(1e-3..1e5).contains(&v.abs()) {
        format!("{v:.3e}")
    } else {
        format!("{v:.4}")
    }
}

fn print_ledger(report: &Explanation, lines: &[Line]) {
    say!(
        "\n  {:<10} {:<22} {:>13} {:>13} {:>11} {:>11} {:>13} {:>12}",
        "step",
        "node",
        "in",
        "out",
        "eps",
        "dead",
        "redistributed",
        "unexplained"
    );
    for l in lines {
        say!(
            "  {:<10} {:<22} {:>13.6e} {:>13.6e} {:>11.3e} {:>11.3e} {:>13.3e} {:>12.2e}",
            l.act,
            l.node,
            l.relevance_in,
            l.relevance_out,
            l.eps,
            l.dead,
            l.redistributed,
            l.unexplained
        );
    }
    let Some(worst) = &report.worst_step else {
        return;
    };
    let lost = worst.relevance_in - worst.relevance_out;
    let share = if report.relevance_in == 0.0 {
        0.0
    } else {
        lost / report.relevance_in
    };
    let judgement = if share.abs() <= TOLERANCE {
        " (rounding)"
    } else {
        ""
    };
    say!(
        "\n  worst step: {} of {} lost {lost:.3e}, {:.4} % of the start{judgement}",
        worst.act,
        worst.node,
        100.0 * share
    );
}
