//! What the comparisons of a run allow to say, in words. Every pair of methods was compared on the same pictures; with many
//! pairs some seem to differ by chance, so p values are adjusted (Holm 1979) over all pairs of a score, and two methods
//! count as distinguishable where the adjusted p is below 0.05.

use super::number::{self, interval, listed, probability};
use super::source::Run;
use crate::run::measure::{Better, Score};
use crate::run::summary::{Estimate, MethodSummary};

/// Above this adjusted p value two methods aren't told apart.
pub const LEVEL: f64 = 0.05;

/// What a pair came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The first method is better.
    First,
    /// The second is.
    Second,
    /// The pictures don't tell.
    Alike,
}

/// A pair of methods by one score.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    /// One method.
    pub first: &'a str,
    /// The other.
    pub second: &'a str,
    /// First minus second.
    pub difference: Estimate,
    /// As the run says.
    pub p: f64,
    /// Adjusted over all pairs of the score.
    pub adjusted: f64,
    /// Which is better.
    pub outcome: Outcome,
}

impl<'a> Pair<'a> {
    /// The same pair seen from `name`, if it is part of it.
    #[must_use]
    pub fn seen_from(&self, name: &str) -> Option<Pair<'a>> {
        if self.first == name {
            return Some(self.clone());
        }
        let d = self.difference;
        (self.second == name).then(|| Pair {
            first: self.second,
            second: self.first,
            difference: Estimate {
                mean: -d.mean,
                low: -d.high,
                high: -d.low,
                images: d.images,
            },
            outcome: match self.outcome {
                Outcome::First => Outcome::Second,
                Outcome::Second => Outcome::First,
                Outcome::Alike => Outcome::Alike,
            },
            ..*self
        })
    }
}

/// All pairs of a score, in the run's order.
#[must_use]
pub fn pairs(run: &Run, score: Score) -> Vec<Pair<'_>> {
    let all = run.summary.comparisons.iter();
    let all: Vec<_> = all.filter(|pair| pair.score == score.name).collect();
    let p: Vec<f64> = all.iter().map(|pair| pair.p).collect();
    let adjusted = holm(&p);
    let outcome = |adjusted: f64, higher: bool| match score.better {
        Better::Neither => Outcome::Alike,
        _ if adjusted >= LEVEL => Outcome::Alike,
        Better::Higher if higher => Outcome::First,
        Better::Lower if !higher => Outcome::First,
        Better::Higher | Better::Lower => Outcome::Second,
    };
    let all = all.into_iter().zip(adjusted);
    all.map(|(pair, adjusted)| Pair {
        first: &pair.first,
        second: &pair.second,
        difference: pair.difference,
        p: pair.p,
        adjusted,
        outcome: outcome(adjusted, pair.difference.mean > 0.0),
    })
    .collect()
}

/// Holm's adjustment, in the order of the p values given.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut least: f64 = 0.0;
    for (rank, &i) in order.iter().enumerate() {
        least = least.max((p.len() - rank) as f64 * p[i]).min(1.0);
        adjusted[i] = least;
    }
    adjusted
}

/// The method with the best mean of this score, controls left out.
#[must_use]
pub fn leader(run: &Run, score: Score) -> Option<(&MethodSummary, Estimate)> {
    let methods = run.summary.methods.iter().filter(|method| !method.control);
    let known = methods.filter_map(|method| Some((method, *method.scores.get(score.name)?)));
    known.reduce(
        |best, next| match run.better(score, next.1.mean, best.1.mean) {
            true => next,
            false => best,
        },
    )
}

/// The best method and all that aren't distinguishable from it: by name.
#[must_use]
pub fn best(run: &Run, score: Score) -> Vec<&str> {
    let Some((leader, _)) = leader(run, score) else {
        return Vec::new();
    };
    if score.better == Better::Neither {
        return Vec::new();
    }
    let pairs = pairs(run, score);
    let seen = pairs.iter().filter_map(|pair| pair.seen_from(&leader.name));
    let mut names = vec![leader.name.as_str()];
    names.extend(
        seen.filter(|p| p.outcome == Outcome::Alike)
            .map(|p| p.second),
    );
    names
}

/// The same in a line: the best, what isn't distinguishable from it, and what fails to beat a control.
#[must_use]
pub fn short(run: &Run) -> Option<String> {
    let score = run.headline();
    let (leader, mean) = leader(run, score)?;
    let (title, name) = (score.title, &leader.name);
    if run.summary.methods.len() == 1 {
        return finding(run);
    }
    let mut text = format!("{title}: {name} is best ({})", number::mean(&mean));
    let pairs = pairs(run, score);
    if pairs.is_empty() {
        return Some(text + if run.finished { "." } else { " so far." });
    }
    let seen = pairs.iter().filter_map(|pair| pair.seen_from(name));
    let alike = seen.filter(|pair| pair.outcome == Outcome::Alike);
    let methods = alike.filter_map(|pair| run.method(pair.second).filter(|method| !method.control));
    let named: Vec<String> = methods
        .map(|method| {
            let mean = method.scores.get(score.name).map(number::mean);
            format!("{} ({})", method.name, mean.unwrap_or_default())
        })
        .collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    let others = run
        .summary
        .methods
        .iter()
        .filter(|method| !method.control)
        .count()
        - 1;
    text += &match (named.len(), others) {
        (0, 0) => ".".to_owned(),
        (0, 1) => "; the other method is distinguishably worse.".to_owned(),
        (0, _) => "; every other method is distinguishably worse.".to_owned(),
        _ => format!(", not distinguishable from {}.", listed(&named)),
    };
    let control = |name: &str| run.method(name).is_some_and(|method| method.control);
    Some(text + &against_controls(run, &pairs, &control))
}

/// What the run says by its first score, in two or three sentences.
#[must_use]
pub fn finding(run: &Run) -> Option<String> {
    let score = run.headline();
    let (leader, mean) = leader(run, score)?;
    let own = format!("{} ({})", number::mean(&mean), interval(&mean));
    let title = score.title;
    if run.summary.methods.len() == 1 {
        return Some(format!("{title} {own}."));
    }
    let name = &leader.name;
    let mut text = format!("{name} has the best {title}: {own}.");
    let pairs = pairs(run, score);
    let seen: Vec<Pair<'_>> = pairs.iter().filter_map(|p| p.seen_from(name)).collect();
    if seen.is_empty() {
        text += match run.finished {
            true => " The methods weren't compared.",
            false => {
                " Whether the methods are distinguishable will be known when the run is finished."
            }
        };
        return Some(text);
    }
    let control = |name: &str| run.method(name).is_some_and(|method| method.control);
    let of = |outcome, controls| -> Vec<&str> {
        let some = seen.iter().filter(|p| p.outcome == outcome);
        some.map(|p| p.second)
            .filter(|n| control(n) == controls)
            .collect()
    };
    let (alike, worse) = (of(Outcome::Alike, false), of(Outcome::First, false));
    match (alike.as_slice(), worse.as_slice()) {
        ([], []) => {}
        ([], worse) => text += &format!(" It is distinguishably better than {}.", listed(worse)),
        ([only], worse) => {
            if let Some(pair) = seen.iter().find(|p| p.second == *only) {
                let d = pair.difference;
                text += &format!(
                    " It is not distinguishable from {only} (difference {}, {}; p {})",
                    number::mean(&d),
                    interval(&d),
                    equal(pair.adjusted)
                );
            }
            text += &ending(worse);
        }
        (several, worse) => {
            text += &format!(" It is not distinguishable from {}", listed(several));
            text += &ending(worse);
        }
    }
    text += &against_controls(run, &pairs, &control);
    Some(text)
}

fn ending(worse: &[&str]) -> String {
    match worse {
        [] => ".".to_owned(),
        worse => format!("; it is distinguishably better than {}.", listed(worse)),
    }
}

fn equal(p: f64) -> String {
    let text = probability(p);
    if text.starts_with('<') {
        text
    } else {
        format!("= {text}")
    }
}

/// Which methods fail to beat a control; that they all do, if so.
fn against_controls(run: &Run, pairs: &[Pair<'_>], control: &impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let (mut any, mut failed) = (false, false);
    for method in run.summary.methods.iter().filter(|method| !method.control) {
        let seen = pairs.iter().filter_map(|pair| pair.seen_from(&method.name));
        let seen: Vec<Pair<'_>> = seen.filter(|pair| control(pair.second)).collect();
        any |= !seen.is_empty();
        let with = |outcome| -> Vec<&str> {
            let some = seen.iter().filter(|pair| pair.outcome == outcome);
            some.map(|pair| pair.second).collect()
        };
        let (alike, lost) = (with(Outcome::Alike), with(Outcome::Second));
        let name = &method.name;
        if !alike.is_empty() {
            let many = plural(&alike);
            text += &format!(
                " {name} is not distinguishable from the control{many} {}.",
                listed(&alike)
            );
        }
        if !lost.is_empty() {
            text += &format!(
                " {name} is worse than the control{} {}.",
                plural(&lost),
                listed(&lost)
            );
        }
        failed |= !alike.is_empty() || !lost.is_empty();
    }
    if any && !failed {
        text += " Every method beats every control.";
    }
    text
}

fn plural(names: &[&str]) -> &'static str {
    if names.len() == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::holm;

    #[test]
    fn holm_multiplies_by_what_is_left_and_never_falls() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, wanted) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - wanted).abs() < 1e-12, "{adjusted:?}");
        }
        assert!(holm(&[]).is_empty());
    }
}
