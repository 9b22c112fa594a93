//! The classes that `--target` names.

use anyhow::{Result, bail};
use elucid_core::rule::Target;
use elucid_core::{Error, Model};

/// The classes that a `--target` names.
pub fn find_targets(model: &Model<'_>, wanted: &str) -> Result<Vec<Target>> {
    let many = wanted.strip_prefix("top").and_then(|n| n.parse().ok());
    let named = (0..model.classes()).any(|i| model.class_name(i) == Some(wanted));
    let Some(count) = many.filter(|_| !named) else {
        return Ok(vec![find_target(model, wanted)?]);
    };
    let classes = model.classes();
    if count == 0 || count > classes {
        bail!("--target {wanted}: the model has {classes} classes; give top1 to top{classes}");
    }
    Ok((0..count).map(Target::Rank).collect())
}

/// The class that `--target` names.
fn find_target(model: &Model<'_>, wanted: &str) -> Result<Target> {
    let classes = model.classes();
    if wanted == "pred" {
        return Ok(Target::Predicted);
    }
    if let Ok(index) = wanted.parse::<u32>() {
        if index >= classes {
            bail!("--target {}", Error::Target { index, classes });
        }
        return Ok(Target::Class(index));
    }
    let names = || (0..classes).filter_map(|i| model.class_name(i).map(|name| (i, name)));
    let same = |name: &str| name.eq_ignore_ascii_case(wanted);
    let found: Vec<u32> = names()
        .filter(|(_, name)| same(name))
        .map(|(i, _)| i)
        .collect();
    if let [index] = found[..] {
        return Ok(Target::Class(index));
    }
    if found.len() > 1 {
        bail!(
            "--target {wanted} names {} classes ({found:?}); give one of these indices",
            found.len()
        );
    }
    let lower = wanted.to_lowercase();
    let similar: Vec<&str> = names()
        .map(|(_, name)| name)
        .filter(|n| n.to_lowercase().contains(&lower))
        .take(5)
        .collect();
    match (names().next(), similar.as_slice()) {
        (None, _) => bail!(
            "--target {wanted}: the model has no class names; give an index from 0 to {}",
            classes - 1
        ),
        (_, []) => bail!(
            "--target {wanted} is no class of the model; `elucid inspect --classes` lists them"
        ),
        (_, similar) => bail!(
            "--target {wanted} is no class of the model; did you mean {}?",
            similar.join(" or ")
        ),
    }
}
