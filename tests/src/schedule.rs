//! What must hold of every schedule, whatever network and options it was made for.

use elucid_core::plan::{Act, End, Plan, Region, Value};

/// Panics unless values that are alive together lie apart, steps touch nothing but living values and read nothing before it
/// is written, and the results survive.
pub fn check(plan: &Plan<'_>, what: &str) {
    assert!(
        plan.arena() >= plan.lower_bound(),
        "{what}: {} < {}",
        plan.arena(),
        plan.lower_bound()
    );
    let values = plan.values();
    let end = |r: Region| r.start as usize + r.len as usize;
    for (i, a) in values.iter().enumerate() {
        assert!(a.birth <= a.death, "{what}: {a:?}");
        assert!(
            end(a.region) <= plan.arena(),
            "{what}: {a:?} sticks out of {}",
            plan.arena()
        );
        assert!(
            a.region.start.is_multiple_of(16),
            "{what}: {a:?} is not aligned"
        );
        for b in &values[i + 1..] {
            let together = a.birth <= b.death && b.birth <= a.death;
            let overlap = a.region.len > 0
                && b.region.len > 0
                && (a.region.start as usize) < end(b.region)
                && (b.region.start as usize) < end(a.region);
            assert!(!(together && overlap), "{what}: {a:?} and {b:?}");
        }
    }
    // Steps touch nothing but values that are alive, and read nothing before it was written.
    let mut written = vec![plan.image(), plan.zero()];
    for (now, step) in plan.steps().iter().enumerate() {
        let regions = step.ins.iter().chain([&step.out, &step.scratch]);
        for &region in regions.filter(|r| r.len > 0) {
            let alive = |v: &&Value| {
                v.region == region && (v.birth as usize..=v.death as usize).contains(&now)
            };
            assert!(
                values.iter().any(|v| alive(&v)),
                "{what}: step {now} touches {region:?}: {step:?}"
            );
        }
        for region in step.ins.iter().filter(|r| r.len > 0) {
            assert!(
                written.contains(region),
                "{what}: step {now} reads {region:?} too early"
            );
        }
        let changes = step.accumulate || matches!(step.act, Act::Weigh | Act::Gate);
        assert!(
            !changes || written.contains(&step.out),
            "{what}: step {now} adds to nothing"
        );
        // What is written here ends whatever lay there before.
        let (start, stop) = (step.out.start as usize, end(step.out));
        written.retain(|r| end(*r) <= start || stop <= r.start as usize || *r == step.out);
        written.push(step.out);
        if step.scratch.len > 0 {
            let (start, stop) = (step.scratch.start as usize, end(step.scratch));
            written.retain(|r| end(*r) <= start || stop <= r.start as usize);
        }
    }
    assert!(
        written.contains(&plan.logits()),
        "{what}: the logits don't survive"
    );
    let options = plan.options();
    let ends = [plan.end_activation(), plan.end_relevance()];
    let survives = |region: Region| region == Region::EMPTY || written.contains(&region);
    assert!(
        survives(plan.heat()) && ends.into_iter().all(survives),
        "{what}: a result doesn't survive"
    );
    let [activation, relevance] = ends.map(|r| r.len as usize);
    let explains = usize::from(options.composite.is_some());
    match options.end {
        End::Map => {
            let cells = explains * options.image.pixels() * options.maps();
            assert_eq!((activation, relevance), (0, 0));
            assert_eq!(plan.heat().len as usize, cells);
        }
        End::Node(_) => {
            assert!(activation > 0 && plan.heat() == Region::EMPTY);
            assert_eq!(relevance, explains * activation * options.targets);
        }
    }
    if options.composite.is_some() {
        assert_eq!(
            plan.relevance_steps().first().map(|s| s.act),
            Some(Act::Seed)
        );
        if options.end == End::Map {
            let last = plan.relevance_steps().last().unwrap();
            assert!(matches!(last.act, Act::Collect | Act::Relevance) && last.out == plan.heat());
        }
    } else {
        assert!(plan.relevance_steps().is_empty());
    }
    assert!(
        plan.forward_steps()
            .iter()
            .all(|s| matches!(s.act, Act::Forward | Act::Pack))
    );
}
