//! The network's labels for the classes of a data set.

use std::collections::HashMap;

use anyhow::{Result, bail};
use elucid_core::Model;

use crate::dataset::Dataset;

/// What the network calls the data set's classes.
pub struct Labels {
    /// By the data set's labels, where they aren't the network's.
    names: Option<Vec<u32>>,
    remarks: Vec<String>,
}

impl Labels {
    /// Labels that only count the classes that are there are the network's if both have as many; otherwise names tell.
    ///
    /// # Errors
    /// If the data set has other classes than the network, or labels are needed and can't be told.
    pub fn of(data: &Dataset, model: &Model<'_>, needed: bool) -> Result<Self> {
        let (own, known) = (data.classes(), model.classes() as usize);
        let by_name = data.counted().then(|| by_name(data, model)).flatten();
        let mut remarks = Vec::new();
        if by_name.is_none() {
            if own.len() > known {
                bail!(
                    "the data set has {} classes, but the network only {known}; take a model of these classes, or name the \
                     network's with --classes",
                    own.len()
                );
            }
            if data.counted() && !own.is_empty() && own.len() < known {
                let matter = format!(
                    "the data set has {} classes and the network {known}: labels that count the data set's are not the \
                     network's",
                    own.len()
                );
                if needed {
                    bail!("{matter}; name the network's classes, in its order, with --classes");
                }
                remarks.push(matter);
            }
        }
        Ok(Self {
            names: by_name,
            remarks,
        })
    }

    /// The network's label.
    pub fn of_label(&self, label: Option<u32>) -> Option<u32> {
        match &self.names {
            Some(names) => label.and_then(|label| names.get(label as usize).copied()),
            None => label,
        }
    }

    /// What a reader should know.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }
}

/// The network's label of each class, if its names are there once each.
fn by_name(data: &Dataset, model: &Model<'_>) -> Option<Vec<u32>> {
    let mut places: HashMap<String, Option<u32>> = HashMap::new();
    for label in 0..model.classes() {
        let name = plain(model.class_name(label)?);
        places
            .entry(name)
            .and_modify(|place| *place = None)
            .or_insert(Some(label));
    }
    let of = |name: &str| places.get(&plain(name)).copied().flatten();
    let labels = data
        .classes()
        .iter()
        .map(|class| of(&class.name).or_else(|| of(&class.key)));
    labels
        .collect::<Option<Vec<u32>>>()
        .filter(|labels| !labels.is_empty())
}

/// A name without what is written in several ways: `001.Black_footed_Albatross` is `black footed albatross`.
fn plain(name: &str) -> String {
    let name = name.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let words = name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}
