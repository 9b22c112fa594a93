//! One look for every method on the whole page: colours that eyes with any colour vision tell apart, and greys with dashes
//! for controls, so that nobody takes one for a method. The colours themselves are in `style.css`, for light and dark.

use std::collections::BTreeMap;

use serde::Serialize;

use super::source::Run;
use crate::run::measure::Measure;

/// Different colours; after them the same come again with dashes.
const COLOURS: usize = 7;
/// Different dashes of controls.
const GREYS: usize = 4;

/// How a method looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Look {
    /// The method's name.
    pub name: String,
    /// Class of the style sheet.
    pub class: String,
    /// Whether it is a control.
    pub control: bool,
}

/// The looks of all methods.
#[derive(Clone, Debug, Default)]
pub struct Palette {
    looks: BTreeMap<String, Look>,
}

impl Palette {
    /// Gives methods looks in the order in which the runs name them.
    #[must_use]
    pub fn of(runs: &[Run]) -> Palette {
        // What an accuracy is of isn't a method: it mustn't take a colour from one.
        let (last, first): (Vec<&Run>, Vec<&Run>) = runs
            .iter()
            .partition(|run| run.measure() == Measure::Accuracy);
        let methods = first
            .iter()
            .chain(&last)
            .flat_map(|run| &run.summary.methods);
        Palette::named(methods.map(|method| (method.name.as_str(), method.control)))
    }

    /// Gives methods looks in this order; each with whether it is a control.
    pub fn named<'a>(all: impl Iterator<Item = (&'a str, bool)>) -> Palette {
        let mut looks = BTreeMap::new();
        let (mut methods, mut controls) = (0, 0);
        for (name, control) in all {
            looks.entry(name.to_owned()).or_insert_with(|| {
                let (letter, i, many) = match control {
                    true => ('k', &mut controls, GREYS),
                    false => ('c', &mut methods, COLOURS),
                };
                let class = match (control, *i / many) {
                    (true, _) | (false, 0) => format!("{letter}{}", *i % many),
                    (false, again) => format!("{letter}{} again{}", *i % many, again.min(2)),
                };
                *i += 1;
                Look {
                    name: name.to_owned(),
                    class,
                    control,
                }
            });
        }
        Palette { looks }
    }

    /// The look of a method; a plain one if no run knows it.
    #[must_use]
    pub fn look(&self, name: &str) -> Look {
        self.looks.get(name).cloned().unwrap_or_else(|| Look {
            name: name.to_owned(),
            class: "c0".to_owned(),
            control: false,
        })
    }
}
