//! How much relevance reaches the image, the first block and the last block (the ECCV 2024 paper's Fig. 5).

use anyhow::{Result, anyhow, bail};
use elucid_core::Model;
use elucid_core::audit::{Account, Ledger};
use elucid_core::graph::{NodeId, Op};
use elucid_core::rule::{Init, Target};

use super::{Case, Judge, Verdict};
use crate::classifier::Classifier;
use crate::engine::{explain_error, ledger_entries};
use crate::method::{Attribution, Spec};
use crate::run::record::Outcome;

/// Sums of relevance at three depths, from the ledger.
pub struct Conservation;

impl Judge for Conservation {
    fn judge(
        &mut self,
        network: &mut Classifier<'_>,
        case: &Case,
        (spec, _): (&Spec, &mut dyn Attribution),
    ) -> Result<Verdict> {
        let Some(lrp) = spec.lrp() else {
            bail!("{spec} has no ledger: conservation is measured for lrp");
        };
        let model = network.model();
        let named = |e| explain_error(model, e);
        let mut map = vec![0.0; network.shape().pixels()];
        let mut explainer = network.explainer(lrp.method(model))?;
        let mut entries = ledger_entries(explainer.plan());
        let mut ledger = Ledger::new(&mut entries);
        let target = Target::Class(case.explained);
        explainer
            .explain(
                &case.prepared.image,
                target,
                Init::Probability,
                Some(&mut ledger),
            )
            .map_err(named)?;
        explainer.heat(&mut map).map_err(named)?;
        let account = ledger.account(0);
        let start = account.start();
        let mut outcome = Outcome::default();
        outcome.set("start", start);
        let mut depth = |name: &str, error: &str, sum: f64| {
            outcome.set(name, sum);
            outcome.set(error, (sum - start).abs() / start.abs());
        };
        let image = map.iter().map(|&v| f64::from(v)).sum();
        depth("sum_image", "error", image);
        if let Some([first, last]) = blocks(model) {
            let at = |node| entering(model, account, node);
            let missing = || anyhow!("the ledger lacks a block");
            depth(
                "sum_first_block",
                "error_first_block",
                at(first).ok_or_else(missing)?,
            );
            depth(
                "sum_last_block",
                "error_last_block",
                at(last).ok_or_else(missing)?,
            );
        }
        Ok(Verdict { outcome, map })
    }
}

/// The nodes whose outputs enter the first and the last residual block.
fn blocks(model: &Model<'_>) -> Option<[NodeId; 2]> {
    let adds = (0..model.node_count()).filter(|&id| matches!(model.node(id).op, Op::Add { .. }));
    let input = |add: NodeId| {
        let segment = model.node(add).segment;
        let inside = (1..=add).filter(move |&id| model.node(id).segment == segment);
        inside
            .flat_map(|id| model.node(id).inputs)
            .find(|&id| id < add && model.node(id).segment < segment)
    };
    let mut adds = adds.map(input);
    let first = adds.next()??;
    Some([first, adds.next_back().unwrap_or(Some(first))?])
}

/// The relevance of a node's output. An addition that leaves everything to its residual branch takes no step itself.
fn entering(model: &Model<'_>, account: Account<'_>, node: NodeId) -> Option<f64> {
    let mut entries = account.entries();
    match (
        entries.find(|entry| entry.node == node),
        model.node(node).op,
    ) {
        (Some(entry), _) => Some(entry.tally.into),
        (None, Op::Add { .. }) => entering(model, account, model.node(node).inputs[0]),
        (None, _) => None,
    }
}
