//! Files of weights: PyTorch and safetensors files as people save them give the same model; damaged ones and those of
//! other kinds are refused in one line.

use std::path::PathBuf;

use elucid_host::checkpoint::Checkpoint;
use elucid_host::synthetic;
use elucid_tests::golden::path;
use elucid_tests::importer::{import_as, import_file, open};
use elucid_tests::suite::{basic, bottleneck};
use half::{bf16, f16};
use safetensors::tensor::{Dtype as StoredType, TensorView, serialize};
use tempfile::TempDir;

fn pth(name: &str) -> PathBuf {
    path("pth").join(name)
}

#[test]
fn pytorch_files_import_like_their_safetensors_twin() {
    let twin = open(&pth("twin.safetensors")).unwrap();
    let model = import_as(&twin, "auto", &[]).unwrap();
    for name in [
        "plain.pth",
        "module.pth",
        "nested.pth",
        "parameters.pth",
        "strided.pth",
    ] {
        let checkpoint = open(&pth(name)).unwrap();
        assert_eq!(checkpoint.tensors, twin.tensors, "{name}");
        assert!(
            import_as(&checkpoint, "auto", &[]).unwrap() == model,
            "{name}"
        );
    }
    // The values are what PyTorch said: a few, by hand.
    let stem = &twin.tensors["conv1.weight"];
    assert_eq!(
        (stem.shape.as_slice(), stem.data.len()),
        (&[2, 3, 3, 3][..], 54)
    );
    assert!(
        twin.tensors
            .keys()
            .all(|k| !k.ends_with("num_batches_tracked"))
    );
    assert_eq!(twin.tensors.len(), 32 - 5 + 5);
}

#[test]
fn a_tensor_beside_the_state_dict_does_not_hide_it() {
    let twin = open(&pth("twin.safetensors")).unwrap();
    let checkpoint = open(&pth("imagenet.pth")).unwrap();
    assert_eq!(checkpoint.tensors, twin.tensors);
}

#[test]
fn pytorch_types_are_widened() {
    let (twin, types) = (
        open(&pth("twin.safetensors")).unwrap(),
        open(&pth("types.pth")).unwrap(),
    );
    assert!(twin.tensors.keys().eq(types.tensors.keys()));
    for (name, tensor) in &twin.tensors {
        let round = |v: f32| match name {
            n if n.contains("conv") => f16::from_f32(v).to_f32(),
            n if n.contains("bn") => bf16::from_f32(v).to_f32(),
            _ => v,
        };
        let want: Vec<f32> = tensor.data.iter().map(|&v| round(v)).collect();
        assert_eq!(types.tensors[name].data, want, "{name}");
    }
}

#[test]
fn other_pytorch_files_are_refused_with_the_mend() {
    for (name, words) in [
        (
            "nan.pth",
            &["nan.pth", "layer1.0.bn1.bias", "NaN", "index 1"][..],
        ),
        (
            "legacy.pth",
            &["legacy.pth", "PyTorch 1.6", "torch.save(model.state_dict()"],
        ),
        (
            "whole.pth",
            &["whole.pth", "state dict, not the whole model"],
        ),
        (
            "make.py",
            &["make.py", "neither a safetensors file nor a PyTorch"],
        ),
        ("", &["is a folder"]),
        ("none.pth", &["none.pth", "cannot read"]),
    ] {
        let error = open(&pth(name)).unwrap_err();
        assert!(words.iter().all(|w| error.contains(w)), "{name}: {error}");
    }
}

#[test]
fn damaged_files_are_refused() {
    let folder = TempDir::new().unwrap();
    for name in ["plain.pth", "twin.safetensors"] {
        let whole = std::fs::read(pth(name)).unwrap();
        let to = folder.path().join(name);
        for len in [
            0,
            1,
            4,
            8,
            9,
            30,
            200,
            whole.len() / 2,
            whole.len() - 30,
            whole.len() - 1,
        ] {
            std::fs::write(&to, &whole[..len]).unwrap();
            let error = import_file(&to).map(|_| ()).unwrap_err();
            assert!(error.contains(name), "{name}, {len} bytes: {error}");
        }
        // Flipped bytes are a model or one line, never a panic.
        for at in (0..whole.len()).step_by(whole.len() / 400) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            std::fs::write(&to, &damaged).unwrap();
            if let Err(error) = import_file(&to) {
                assert!(!error.is_empty(), "{name}, byte {at}");
            }
        }
    }
}

/// A file of tensors: name, type, shape, bytes.
type Stored = (String, StoredType, Vec<usize>, Vec<u8>);

fn save(folder: &TempDir, tensors: &[Stored]) -> PathBuf {
    let views = tensors.iter().map(|(name, kind, shape, bytes)| {
        (name, TensorView::new(*kind, shape.clone(), bytes).unwrap())
    });
    let to = folder.path().join("weights.safetensors");
    std::fs::write(&to, serialize(views, None).unwrap()).unwrap();
    to
}

/// A checkpoint's tensors in this type.
fn stored(checkpoint: &Checkpoint, kind: StoredType) -> Vec<Stored> {
    let bytes = |v: f32| match kind {
        StoredType::F16 => f16::from_f32(v).to_le_bytes().to_vec(),
        StoredType::BF16 => bf16::from_f32(v).to_le_bytes().to_vec(),
        StoredType::F64 => f64::from(v).to_le_bytes().to_vec(),
        _ => v.to_le_bytes().to_vec(),
    };
    let tensors = checkpoint.tensors.iter();
    tensors
        .map(|(name, t)| {
            (
                name.clone(),
                kind,
                t.shape.clone(),
                t.data.iter().flat_map(|&v| bytes(v)).collect(),
            )
        })
        .collect()
}

#[test]
fn safetensors_types_are_widened() {
    let folder = TempDir::new().unwrap();
    let net = basic(3, &[(1, 3), (1, 5)], 4);
    let checkpoint = synthetic::checkpoint(&net, 5).unwrap();
    type Round = fn(f32) -> f32;
    let kinds: [(StoredType, Round); 4] = [
        (StoredType::F32, |v| v),
        (StoredType::F64, |v| v),
        (StoredType::F16, |v| f16::from_f32(v).to_f32()),
        (StoredType::BF16, |v| bf16::from_f32(v).to_f32()),
    ];
    for (kind, round) in kinds {
        let mut want = checkpoint.clone();
        for tensor in want.tensors.values_mut() {
            tensor.data.iter_mut().for_each(|v| *v = round(*v));
        }
        let read = open(&save(&folder, &stored(&checkpoint, kind))).unwrap();
        assert_eq!(read.tensors, want.tensors, "{kind:?}");
        assert!(import_as(&read, "auto", &[]).unwrap() == import_as(&want, "auto", &[]).unwrap());
    }
    // Counters of training are left out; other integers are named.
    let mut tensors = stored(&checkpoint, StoredType::F32);
    tensors.push((
        "bn1.num_batches_tracked".to_owned(),
        StoredType::I64,
        vec![],
        vec![7, 0, 0, 0, 0, 0, 0, 0],
    ));
    assert_eq!(
        open(&save(&folder, &tensors)).unwrap().tensors,
        checkpoint.tensors
    );
    tensors.push(("steps".to_owned(), StoredType::I64, vec![1], vec![0; 8]));
    let error = open(&save(&folder, &tensors)).unwrap_err();
    assert!(error.contains("steps") && error.contains("I64"), "{error}");
}

#[test]
fn prefixes_of_wrappers_are_dropped() {
    let net = bottleneck(3, &[(1, 3, 7)], 4);
    let checkpoint = synthetic::checkpoint(&net, 6).unwrap();
    let want = import_as(&checkpoint, "auto", &[]).unwrap();
    let folder = TempDir::new().unwrap();
    for prefix in ["module.", "model.", "module.model.", "net.", "backbone."] {
        let mut tensors = stored(&checkpoint, StoredType::F32);
        tensors.iter_mut().for_each(|t| t.0.insert_str(0, prefix));
        assert!(
            import_file(&save(&folder, &tensors)).unwrap() == want,
            "{prefix}"
        );
    }
    let mut tensors = stored(&checkpoint, StoredType::F32);
    tensors
        .iter_mut()
        .for_each(|t| t.0 = t.0.replace(".downsample.", ".shortcut."));
    assert!(
        import_file(&save(&folder, &tensors)).unwrap() == want,
        "shortcut"
    );
}

#[test]
fn numbers_that_are_not_finite_are_named() {
    let folder = TempDir::new().unwrap();
    let checkpoint = synthetic::checkpoint(&basic(3, &[(1, 3)], 4), 7).unwrap();
    for (name, value) in [
        ("layer1.0.conv2.weight", f32::NAN),
        ("bn1.running_var", f32::INFINITY),
        ("fc.bias", f32::NEG_INFINITY),
    ] {
        let mut wrong = checkpoint.clone();
        wrong.tensors.get_mut(name).unwrap().data[2] = value;
        let error = open(&save(&folder, &stored(&wrong, StoredType::F32))).unwrap_err();
        assert!(error.contains(name) && error.contains("index 2"), "{error}");
    }
    // An f64 that no f32 can hold becomes infinite.
    let mut tensors = stored(&checkpoint, StoredType::F64);
    let tensor = tensors.iter_mut().find(|t| t.0 == "fc.weight").unwrap();
    tensor.3[..8].copy_from_slice(&1e200f64.to_le_bytes());
    let error = open(&save(&folder, &tensors)).unwrap_err();
    assert!(
        error.contains("fc.weight") && error.contains("inf"),
        "{error}"
    );
}
