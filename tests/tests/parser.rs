//! The model parser on bytes that no importer wrote: any bytes give a model or a typed error, and a model that parses can
//! be planned and run, or says why not. Nothing here may panic. `ELUCID_CASES=20` tries twenty times as many.

use elucid_core::Model;
use elucid_core::arch::resnet::Resnet;
use elucid_core::error::{Error, Kind};
use elucid_core::graph::NONE;
use elucid_core::model::{Header, MAGIC, RECORD, TextRef, VERSION, seal};
use elucid_host::aligned::Aligned;
use elucid_host::architecture::{self, Wanted};
use elucid_host::import::{Options, import};
use elucid_host::{preprocess, synthetic};
use elucid_tests::golden::path;
use elucid_tests::importer::open;
use elucid_tests::robustness::{cases, caught, exercise};
use elucid_tests::suite::{basic, bottleneck, small};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

/// Small models of every kind, with class names.
fn models() -> Vec<Vec<u8>> {
    let nets = [
        (basic(2, &[(1, 2), (1, 3)], 3), false),
        (bottleneck(2, &[(1, 2, 5)], 3), true),
        (Resnet::cifar(1, 2, 3), false),
        (small(basic(5, &[(2, 5)], 3)), true),
    ];
    let model = |(net, half): &(Resnet, bool)| {
        let options = Options {
            bn_eps: 1e-5,
            half: *half,
            preprocess: preprocess::find(None, net).unwrap(),
            classes: ["cat", "dog", "Vogel"].map(str::to_owned).to_vec(),
        };
        import(&synthetic::checkpoint(net, 1).unwrap(), net, &options).unwrap()
    };
    let residual = nets.iter().map(model);
    let transformers = ["vit", "ala"].map(|name| {
        let wanted = Wanted {
            heads: Some(if name == "vit" { 4 } else { 3 }),
            ..Wanted::default()
        };
        let checkpoint = open(&path(name).join("weights.safetensors")).unwrap();
        let net = architecture::infer(&checkpoint, &wanted).unwrap();
        let options = Options {
            bn_eps: 1e-5,
            half: true,
            preprocess: preprocess::find(None, &net).unwrap(),
            classes: Vec::new(),
        };
        import(&checkpoint, &net, &options).unwrap()
    });
    residual.chain(transformers).collect()
}

/// [`exercise`] without panics; the error, if it wasn't a model.
fn survives(bytes: &[u8]) -> Result<Option<Error>, TestCaseError> {
    let outcome = caught(|| exercise(bytes)).map_err(TestCaseError::fail)?;
    Ok(outcome.err())
}

/// What an outcome must be when the bytes can't be a model.
fn refused(bytes: &[u8]) -> Result<(), TestCaseError> {
    match survives(bytes)? {
        Some(error) if error.kind() == Kind::Model => Ok(()),
        other => Err(TestCaseError::fail(format!(
            "{other:?} for bytes that are no model"
        ))),
    }
}

fn config(usual: u32) -> ProptestConfig {
    ProptestConfig {
        cases: cases(usual),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..600)) {
        refused(&bytes)?;
    }

    #[test]
    fn any_bytes_behind_a_right_start(mut bytes in vec(any::<u8>(), 12..600)) {
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        refused(&bytes)?;
        if bytes.len() >= RECORD {
            bytes[12..16].copy_from_slice(&0x0102_0304u32.to_le_bytes());
            let len = bytes.len() as u64;
            bytes[52..60].copy_from_slice(&len.to_le_bytes());
            // Sections that start right behind the header get further.
            for offset in (28..48).step_by(4) {
                bytes[offset + 1..offset + 4].fill(0);
            }
            bytes[20..24].copy_from_slice(&[1, 0, 1, 0]);
            seal(&mut bytes);
            survives(&bytes)?;
        }
    }
}

#[test]
fn the_models_themselves_run() {
    for bytes in models() {
        assert_eq!(exercise(&bytes), Ok(()));
    }
}

#[test]
fn every_truncation_is_a_typed_error() {
    for bytes in models() {
        let header = Header::decode(&bytes).unwrap();
        let records = [
            (header.meta, 1, RECORD),
            (header.nodes, header.node_count.into(), RECORD),
            (header.tensors, header.tensor_count.into(), RECORD),
            (header.classes, header.class_count as usize, TextRef::SIZE),
            (header.strings, header.strings_len as usize, 1),
            (0, bytes.len() / 64, 64),
        ];
        for (start, count, size) in records {
            for at in (0..=count).map(|i| start as usize + i * size) {
                for len in [at.wrapping_sub(1), at, at + 1]
                    .into_iter()
                    .filter(|&len| len < bytes.len())
                {
                    let cut = Aligned::copy_of(&bytes[..len]);
                    let error = Model::parse(cut.bytes()).unwrap_err();
                    let Error::Truncated { need, have } = error else {
                        panic!("{error:?} for {len} of {} bytes", bytes.len());
                    };
                    assert!(need > have && have == len as u64, "{error:?}");
                    // A cut file whose header was mended to match.
                    let mut mended = bytes[..len].to_vec();
                    if len >= RECORD {
                        mended[52..60].copy_from_slice(&(len as u64).to_le_bytes());
                        seal(&mut mended);
                        survives(&mended).unwrap();
                    }
                }
            }
        }
        let mut longer = bytes.clone();
        longer.push(0);
        refused(&longer).unwrap();
    }
}

#[test]
fn every_flipped_byte_is_noticed() {
    let bytes = &models()[1];
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let damaged = Aligned::copy_of(&damaged);
        let error = Model::parse(damaged.bytes()).unwrap_err();
        assert_eq!(error.kind(), Kind::Model, "{error:?} for a flip at {at}");
    }
}

#[test]
fn misaligned_bytes_are_a_typed_error() {
    for bytes in models() {
        for shift in [1, 2, 3, 5] {
            let mut memory = Aligned::zeroed(bytes.len() + 64).unwrap();
            memory.bytes_mut()[shift..][..bytes.len()].copy_from_slice(&bytes);
            let error = Model::parse(&memory.bytes()[shift..][..bytes.len()]).unwrap_err();
            assert!(
                matches!(error, Error::Misaligned { .. }),
                "{error:?} for a shift of {shift}"
            );
        }
    }
}

/// A change to a node record: which node (modulo their number), which field, and what it becomes.
#[derive(Clone, Copy, Debug)]
enum Change {
    Byte { node: usize, at: usize, value: u8 },
    Word { node: usize, at: usize, value: u16 },
    Copy { node: usize, from: usize },
    Field { node: usize, from: usize, at: usize },
}

/// Offsets of the fields of a node record that are one byte, or two.
const BYTES: [usize; 3] = [0, 1, 14];
const WORDS: [usize; 12] = [2, 4, 6, 8, 10, 12, 16, 20, 24, 26, 28, 30];

fn change() -> impl Strategy<Value = Change> {
    let node = 0..64usize;
    let word = prop_oneof![4 => 0..8u16, 2 => 0..40u16, 1 => Just(NONE), 1 => any::<u16>()];
    prop_oneof![
        (node.clone(), prop::sample::select(&BYTES[..]), 0..8u8)
            .prop_map(|(node, at, value)| Change::Byte { node, at, value }),
        (node.clone(), prop::sample::select(&WORDS[..]), word)
            .prop_map(|(node, at, value)| Change::Word { node, at, value }),
        (node.clone(), node.clone()).prop_map(|(node, from)| Change::Copy { node, from }),
        (node.clone(), node, prop::sample::select(&WORDS[..]))
            .prop_map(|(node, from, at)| Change::Field { node, from, at }),
    ]
}

impl Change {
    fn apply(self, bytes: &mut [u8]) {
        let header = Header::decode(bytes).unwrap();
        let record =
            |node: usize| header.nodes as usize + node % usize::from(header.node_count) * RECORD;
        match self {
            Change::Byte { node, at, value } => bytes[record(node) + at] = value,
            Change::Word { node, at, value } => {
                bytes[record(node) + at..][..2].copy_from_slice(&value.to_le_bytes());
            }
            Change::Copy { node, from } => {
                let from = record(from);
                bytes.copy_within(from..from + RECORD, record(node));
            }
            Change::Field { node, from, at } => {
                let from = record(from) + at;
                bytes.copy_within(from..from + 2, record(node) + at);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn changed_nodes_with_a_right_checksum(model in 0..4usize, changes in vec(change(), 1..5)) {
        let mut bytes = models().swap_remove(model);
        for change in changes {
            change.apply(&mut bytes);
        }
        seal(&mut bytes);
        survives(&bytes)?;
    }

    #[test]
    fn flipped_bytes_with_a_right_checksum(
        model in 0..4usize,
        flips in vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..6),
    ) {
        let mut bytes = models().swap_remove(model);
        let header = Header::decode(&bytes).unwrap();
        let records = header.strings as usize;
        for (at, value, anywhere) in flips {
            let len = if anywhere { bytes.len() } else { records };
            bytes[at.index(len)] ^= value;
        }
        seal(&mut bytes);
        survives(&bytes)?;
    }
}
