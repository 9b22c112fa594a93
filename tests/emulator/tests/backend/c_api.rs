//! The C API on a device, call by call beside the CPU's.
#![allow(unsafe_code)] // It takes pointers.

use std::env;
use std::mem::MaybeUninit;
use std::ptr;

use elucid::ffi::{
    Account, Answer, CudaInfo, Elucid, Frame, Info, Options, Picture, elucid_audit,
    elucid_classify, elucid_close, elucid_cuda_open, elucid_cuda_probe, elucid_explain,
    elucid_heat, elucid_measure, elucid_open, format,
};

use crate::cases::{close, say};
use crate::model::Bytes;

const SIDE: u32 = 33;

fn options(audit: u32) -> Options {
    Options {
        width: SIDE,
        height: SIDE,
        audit,
        ..Options::default()
    }
}

/// A zeroed struct of C, as its programs begin with one.
fn zeroed<T: Copy>() -> T {
    // SAFETY: used for structs of numbers and pointers only.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// What both give.
struct Said {
    answers: Vec<Answer>,
    logits: Vec<f32>,
    heat: Vec<f32>,
    colours: Vec<u8>,
    account: Option<Account>,
}

fn ok(status: i32) {
    assert_eq!(status, 0);
}

fn drive(model: &[u8], audit: u32, device: bool) -> Said {
    let options = options(audit);
    let (bytes, len) = (model.as_ptr().cast(), model.len());
    let mut info: Info = zeroed();
    // SAFETY: all pointers are to values that live to the end of this function, as long as they are said to be; the explainer is
    // closed before its memory goes.
    unsafe {
        ok(elucid_measure(
            bytes,
            len,
            &raw const options,
            ptr::null_mut(),
            0,
            &raw mut info,
        ));
        let mut memory = vec![0u8; info.memory_bytes];
        let (room, bytes_of_room) = (memory.as_mut_ptr().cast(), memory.len());
        let mut explainer: *mut Elucid = ptr::null_mut();
        let options = &raw const options;
        let to = &raw mut explainer;
        ok(if device {
            elucid_cuda_open(0, bytes, len, options, room, bytes_of_room, to)
        } else {
            elucid_open(bytes, len, options, room, bytes_of_room, to)
        });
        let mut said = Said {
            answers: Vec::new(),
            logits: vec![0.0; info.classes as usize],
            heat: vec![0.0; (SIDE * SIDE) as usize],
            colours: vec![0; 4 * 40 * 40],
            account: None,
        };
        let pixels: Vec<u8> = (0..60 * 50 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let frame = Frame {
            data: pixels.as_ptr().cast(),
            bytes: pixels.len(),
            stride: 60 * 3,
            width: 60,
            height: 50,
            format: format::RGB8,
            ..zeroed()
        };
        let frame = &raw const frame;
        let mut answer = Answer::default();
        let (logits, count) = (said.logits.as_mut_ptr(), said.logits.len());
        ok(elucid_classify(
            explainer,
            frame,
            &raw mut answer,
            logits,
            count,
        ));
        said.answers.push(answer);
        // What was classified is explained, and then three more frames for the graphs.
        for target in [2, -1, -2, 0] {
            let frame = if target == 2 { ptr::null() } else { frame };
            ok(elucid_explain(explainer, frame, target, &raw mut answer));
            said.answers.push(answer);
        }
        let heat = Picture {
            data: said.heat.as_mut_ptr().cast(),
            bytes: 4 * said.heat.len(),
            stride: 4 * SIDE as usize,
            width: SIDE,
            height: SIDE,
            format: format::HEAT_F32,
            ..zeroed()
        };
        ok(elucid_heat(explainer, ptr::null(), &raw const heat));
        let colours = Picture {
            data: said.colours.as_mut_ptr().cast(),
            bytes: said.colours.len(),
            stride: 160,
            width: 40,
            height: 40,
            format: format::HEAT_RGBA8,
            ..zeroed()
        };
        ok(elucid_heat(explainer, frame, &raw const colours));
        if audit == 1 {
            let mut account = Account::default();
            ok(elucid_audit(
                explainer,
                &raw mut account,
                ptr::null_mut(),
                0,
            ));
            said.account = Some(account);
        }
        ok(elucid_close(explainer));
        assert_ne!(elucid_close(explainer), 0, "it is closed");
        said
    }
}

pub fn explain() {
    let bytes = Bytes::flowers();
    for audit in [0, 1] {
        let got = drive(bytes.bytes(), audit, true);
        let want = drive(bytes.bytes(), audit, false);
        close(&got.logits, &want.logits, "logits");
        close(&got.heat, &want.heat, "map");
        for (g, w) in got.answers.iter().zip(&want.answers) {
            assert_eq!((g.predicted, g.target), (w.predicted, w.target));
            close(&[g.relevance, g.logit], &[w.relevance, w.logit], "answer");
        }
        let apart = got.colours.iter().zip(&want.colours);
        assert!(apart.clone().all(|(g, w)| g.abs_diff(*w) <= 1));
        assert!(got.colours.iter().any(|&v| v != 0));
        match (got.account, want.account) {
            (Some(g), Some(w)) => {
                assert_eq!((g.balances, g.steps), (1, w.steps));
                assert!((g.map - w.map).abs() <= 1e-4 * w.map.abs());
            }
            (None, None) => {}
            _ => panic!("one has an account"),
        }
    }
    let mut info: CudaInfo = zeroed();
    // SAFETY: one struct to write to.
    ok(unsafe { elucid_cuda_probe(0, &raw mut info) });
    assert_eq!((info.kernels, info.capability_major), (1, 8));
    say("done");
}

/// The status of an open that can't work, which leaves the memory to the caller.
pub fn status() {
    let wanted = env::var("ELUCID_BACKEND_STATUS").expect("a status");
    let bytes = Bytes::flowers();
    let model = bytes.bytes();
    let options = options(0);
    let mut memory = vec![0u8; 4 << 20];
    let mut explainer: *mut Elucid = ptr::null_mut();
    // SAFETY: the memory is as long as is said, and nothing is open in it.
    let status = unsafe {
        elucid_cuda_open(
            0,
            model.as_ptr().cast(),
            model.len(),
            &raw const options,
            memory.as_mut_ptr().cast(),
            memory.len(),
            &raw mut explainer,
        )
    };
    assert_eq!(status.to_string(), wanted);
    assert!(explainer.is_null());
    say("done");
}
