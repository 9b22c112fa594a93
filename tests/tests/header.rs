//! The C header cannot lie: what bindgen reads out of `elucid.h` is compared with `elucid_core::ffi`, size by size, offset by offset,
//! value by value and signature by signature; and every function is driven through bindgen's declarations.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::mem::{MaybeUninit, offset_of};
use std::ptr::{null, null_mut};

use elucid_core::Model;
use elucid_core::ffi::{self, Status, choice};
use elucid_core::frame::Matrix;
use elucid_core::plan::{Act, Memory};
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_host::aligned::Aligned;
use elucid_host::engine::{Engine, Method, Threads};
use elucid_tests::subject::Image;

const HEADER: &str = include_str!("../../core/include/elucid.h");

/// The header, structs and all.
#[allow(non_camel_case_types, dead_code, missing_docs)]
mod c {
    include!(concat!(env!("OUT_DIR"), "/elucid.rs"));
}

/// Its functions over the library's structs.
#[allow(
    non_camel_case_types,
    missing_docs,
    clashing_extern_declarations,
    improper_ctypes
)]
mod functions {
    use ::elucid::ffi::{
        Account as elucid_ledger, AccountStep as elucid_ledger_step, Answer as elucid_result,
        CudaInfo as elucid_cuda_info, Elucid as elucid, Frame as elucid_frame, Info as elucid_info,
        Options as elucid_options, Picture as elucid_picture, Pool as elucid_pool,
    };
    type elucid_status = i32;
    include!(concat!(env!("OUT_DIR"), "/elucid_functions.rs"));
}

/// Compares size, alignment and the offset of every field.
macro_rules! same_layout {
    ($($c:ident = $rust:ident { $($field:ident),+ $(,)? })+) => {$(
        assert_eq!(size_of::<c::$c>(), size_of::<ffi::$rust>(), stringify!($c));
        assert_eq!(align_of::<c::$c>(), align_of::<ffi::$rust>(), stringify!($c));
        $(
            assert_eq!(offset_of!(c::$c, $field), offset_of!(ffi::$rust, $field), stringify!($c.$field));
            same_field(|v: &c::$c| size_of_val(&v.$field), |v: &ffi::$rust| size_of_val(&v.$field));
        )+
        // All fields are named above.
        // SAFETY: structs of numbers and pointers, for which all bits zero is a value.
        let c::$c { $($field: _),+ } = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: as above.
        let ffi::$rust { $($field: _),+ } = unsafe { MaybeUninit::zeroed().assume_init() };
    )+};
}

fn same_field<A, B>(a: impl Fn(&A) -> usize, b: impl Fn(&B) -> usize) {
    // SAFETY: all structs of the API are plain numbers and pointers, for which zeros are values.
    let (x, y) = unsafe {
        (
            MaybeUninit::zeroed().assume_init(),
            MaybeUninit::zeroed().assume_init(),
        )
    };
    assert_eq!(a(&x), b(&y));
}

#[test]
fn structs_have_the_same_layout() {
    same_layout! {
        elucid_options = Options { preset, split, init, memory, half, threads, width, height, audit, reserved }
        elucid_info = Info { memory_bytes, work_bytes, width, height, classes, steps, max_frame_width, reserved }
        elucid_pool = Pool { context, broadcast, threads, reserved }
        elucid_frame = Frame {
            data, bytes, stride, chroma, chroma_bytes, chroma_stride, width, height, format, matrix
        }
        elucid_picture = Picture { data, bytes, stride, width, height, format, reserved }
        elucid_result = Answer { predicted, target, predicted_probability, probability, logit, relevance }
        elucid_ledger = Account { start, map, eps, dead, redistributed, unexplained, steps, balances }
        elucid_ledger_step = AccountStep { into, out, eps, dead, redistributed, node, act }
        elucid_cuda_info = CudaInfo {
            memory_bytes, devices, capability_major, capability_minor, integrated, compiler, kernels, name
        }
    }
}

#[test]
fn functions_have_the_same_signatures() {
    // Both are one type, or this doesn't compile.
    macro_rules! same {
        ($($name:ident)+) => {$({
            let both = [functions::$name, ::elucid::ffi::$name];
            assert!(std::ptr::fn_addr_eq(both[0], both[1]), stringify!($name));
        })+};
    }
    same! {
        elucid_measure elucid_open elucid_set_pool elucid_class_name elucid_classify elucid_explain elucid_heat elucid_audit
        elucid_close elucid_cuda_probe elucid_cuda_open
    }
    let _: [unsafe extern "C" fn() -> u32; 2] = [functions::elucid_version, ffi::elucid_version];
    let _: [unsafe extern "C" fn(i32) -> *const _; 2] =
        [functions::elucid_strerror, ffi::elucid_strerror];
    let declared = HEADER
        .lines()
        .filter(|l| l.starts_with("elucid_status elucid_"))
        .count();
    assert_eq!(declared, 11, "a function of the header is missing above");
}

/// Names of the header with their values in it and in the library.
macro_rules! values {
    ($($name:ident = $rust:expr),+ $(,)?) => {
        [$((stringify!($name), i64::from(c::$name), i64::from($rust))),+]
    };
}

/// The place of a choice in its list.
fn place<T: PartialEq>(all: &[T], choice: &T) -> u32 {
    all.iter().position(|c| c == choice).unwrap() as u32
}

#[test]
fn values_are_the_same() {
    let code = |s: Status| s as i32;
    let statuses = values! {
        ELUCID_OK = code(Status::Ok),
        ELUCID_E_NULL = code(Status::Null),
        ELUCID_E_ALIGNMENT = code(Status::Alignment),
        ELUCID_E_OVERLAP = code(Status::Overlap),
        ELUCID_E_TOO_SMALL = code(Status::TooSmall),
        ELUCID_E_TOO_LARGE = code(Status::TooLarge),
        ELUCID_E_OPTIONS = code(Status::Options),
        ELUCID_E_FRAME = code(Status::Frame),
        ELUCID_E_HANDLE = code(Status::Handle),
        ELUCID_E_BUSY = code(Status::Busy),
        ELUCID_E_ORDER = code(Status::Order),
        ELUCID_E_TARGET = code(Status::Target),
        ELUCID_E_NOT_FINITE = code(Status::NotFinite),
        ELUCID_E_TRUNCATED = code(Status::Truncated),
        ELUCID_E_NOT_A_MODEL = code(Status::NotAModel),
        ELUCID_E_VERSION = code(Status::Version),
        ELUCID_E_CHECKSUM = code(Status::Checksum),
        ELUCID_E_RECORD = code(Status::Record),
        ELUCID_E_MISALIGNED = code(Status::Misaligned),
        ELUCID_E_SHAPE = code(Status::Shape),
        ELUCID_E_UNSUPPORTED = code(Status::Unsupported),
        ELUCID_E_ARCHITECTURE = code(Status::Architecture),
        ELUCID_E_NO_DRIVER = code(Status::NoDriver),
        ELUCID_E_NO_DEVICE = code(Status::NoDevice),
        ELUCID_E_DRIVER_BROKEN = code(Status::DriverBroken),
        ELUCID_E_NO_KERNELS = code(Status::NoKernels),
        ELUCID_E_NO_COMPILER = code(Status::NoCompiler),
        ELUCID_E_DEVICE_MEMORY = code(Status::DeviceMemory),
        ELUCID_E_DEVICE = code(Status::Device),
        ELUCID_E_INTERNAL = code(Status::Internal),
    };
    assert_eq!(statuses.len(), Status::ALL.len());
    for (name, value, _) in statuses {
        // SAFETY: any number may be asked.
        let text = unsafe { CStr::from_ptr(functions::elucid_strerror(value as i32)) };
        assert!(text.to_str().unwrap().len() > 5, "{name}");
        assert_ne!(text, c"no such status", "{name}");
    }
    // SAFETY: the same.
    let unknown = unsafe { CStr::from_ptr(functions::elucid_strerror(-77)) };
    assert_eq!(unknown, c"no such status");

    let preset = |wanted: fn(Split) -> Composite| {
        let all = choice::PRESETS.map(|of| of(Split::Half));
        place(&all, &wanted(Split::Half))
    };
    let split = |s| place(&choice::SPLITS, &s);
    let init = |i| place(&choice::INITS, &i);
    let memory = |m| place(&choice::MEMORIES, &m);
    let matrix = |m| place(&choice::MATRICES, &m);
    let choices = values! {
        ELUCID_EXACT = preset(Composite::exact),
        ELUCID_PAPER = preset(Composite::paper),
        ELUCID_RATIO = split(Split::Ratio),
        ELUCID_HALF = split(Split::Half),
        ELUCID_PROJECTION_RATIO = split(Split::ProjectionRatio),
        ELUCID_PROJECTION_HALF = split(Split::ProjectionHalf),
        ELUCID_PROBABILITY = init(Init::Probability),
        ELUCID_LOGIT = init(Init::Logit),
        ELUCID_ONE = init(Init::One),
        ELUCID_BLOCK = memory(Memory::Block),
        ELUCID_KEEP = memory(Memory::Keep),
        ELUCID_STAGE = memory(Memory::Stage),
        ELUCID_BT601 = matrix(Matrix::Bt601),
        ELUCID_BT709 = matrix(Matrix::Bt709),
        ELUCID_BT601_FULL = matrix(Matrix::Bt601Full),
        ELUCID_BT709_FULL = matrix(Matrix::Bt709Full),
    };
    let lists = [
        choice::PRESETS.len(),
        choice::SPLITS.len(),
        choice::INITS.len(),
        choice::MEMORIES.len(),
        choice::MATRICES.len(),
    ];
    assert_eq!(
        choices.len(),
        lists.iter().sum::<usize>(),
        "a choice that the header doesn't name"
    );
    let others = values! {
        ELUCID_RGB8 = ffi::format::RGB8,
        ELUCID_BGR8 = ffi::format::BGR8,
        ELUCID_NV12 = ffi::format::NV12,
        ELUCID_RGB_F32 = ffi::format::RGB_F32,
        ELUCID_TENSOR_F32 = ffi::format::TENSOR_F32,
        ELUCID_HEAT_F32 = ffi::format::HEAT_F32,
        ELUCID_HEAT_U8 = ffi::format::HEAT_U8,
        ELUCID_HEAT_RGBA8 = ffi::format::HEAT_RGBA8,
        ELUCID_SPLIT = Act::Split as u32,
        ELUCID_RELEVANCE = Act::Relevance as u32,
        ELUCID_COLLECT = Act::Collect as u32,
        ELUCID_VERSION = ffi::elucid_version(),
        ELUCID_PREDICTED = ffi::PREDICTED,
        RANK_OF_0 = ffi::PREDICTED,
        RANK_OF_1 = ffi::PREDICTED - 1,
        RANK_OF_LAST = i32::MIN,
    };

    let all = [&statuses[..], &choices, &others].concat();
    for (name, header, rust) in &all {
        assert_eq!(header, rust, "{name}");
    }
    let mut compared: Vec<&str> = all.iter().map(|(name, ..)| *name).collect();
    compared.sort_unstable();
    // What bindgen found; and what it can't: macros with arguments.
    let bound = include_str!(concat!(env!("OUT_DIR"), "/elucid.rs"));
    let constants = bound.split("pub const ").skip(1);
    let mut found: Vec<&str> = constants
        .map(|rest| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
        })
        .map(Option::unwrap)
        .filter(|name| name.starts_with("ELUCID") || name.starts_with("RANK"))
        .collect();
    found.sort_unstable();
    assert_eq!(
        found, compared,
        "the header's values, and those compared here"
    );
    let macros: Vec<&str> = HEADER
        .lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split(' ').next())
        .filter(|name| !found.contains(name))
        .collect();
    assert_eq!(macros, ["ELUCID_H", "ELUCID_RANK(n)"]);
}

/// Every choice of the options, and what the same choice gives in Rust.
#[test]
fn every_function_does_what_the_library_does() {
    let file = Aligned::copy_of(include_bytes!("../firmware/model/flowers32.elucid"));
    let bytes = file.bytes();
    let model = Model::parse(bytes).unwrap();
    let image = Image::random(5, 32, 32);
    let shape = image.shape;
    let threads = Threads::new(1).unwrap();
    let exact: fn(Split) -> Composite = Composite::exact;
    let presets = [
        (c::ELUCID_EXACT, exact),
        (c::ELUCID_PAPER, Composite::paper),
    ];
    let splits = [
        (c::ELUCID_RATIO, Split::Ratio),
        (c::ELUCID_HALF, Split::Half),
        (c::ELUCID_PROJECTION_RATIO, Split::ProjectionRatio),
        (c::ELUCID_PROJECTION_HALF, Split::ProjectionHalf),
    ];
    let inits = [
        (c::ELUCID_PROBABILITY, Init::Probability),
        (c::ELUCID_LOGIT, Init::Logit),
        (c::ELUCID_ONE, Init::One),
    ];
    for (preset, composite) in presets {
        for (split, rust_split) in splits {
            let (init, rust_init) = inits[(split + preset) as usize % 3];
            let mut engine = Engine::new(&model, &threads);
            let method = Method::new(Some(composite(rust_split)));
            let mut rust = engine.open(shape, method).unwrap();
            let seed = rust
                .explain(&image.values, Target::Rank(1), rust_init, None)
                .unwrap();
            let mut want = vec![0.0; shape.pixels()];
            rust.heat(&mut want).unwrap();

            let options = c::elucid_options {
                preset,
                split,
                init,
                memory: c::ELUCID_KEEP,
                width: shape.w,
                height: shape.h,
                audit: 1,
                // SAFETY: zeros are values of plain numbers.
                ..unsafe { MaybeUninit::zeroed().assume_init() }
            };
            let mut map = vec![0f32; want.len()];
            // SAFETY: every pointer is to a value or a buffer of the length beside it, and none outlives the explainer.
            unsafe {
                let mut info = MaybeUninit::<c::elucid_info>::zeroed().assume_init();
                let model = bytes.as_ptr().cast();
                let of = |code: i32| {
                    assert_eq!(code, 0, "{:?}", CStr::from_ptr(c::elucid_strerror(code)));
                };
                of(c::elucid_measure(
                    model,
                    bytes.len(),
                    &options,
                    null_mut(),
                    0,
                    &mut info,
                ));
                let mut work = vec![0u8; info.work_bytes];
                let mut again = info;
                of(c::elucid_measure(
                    model,
                    bytes.len(),
                    &options,
                    work.as_mut_ptr().cast(),
                    work.len(),
                    &mut again,
                ));
                assert_eq!(again.memory_bytes, info.memory_bytes);
                let mut memory = vec![0u8; info.memory_bytes];
                let mut explainer = null_mut();
                let room = memory.as_mut_ptr().cast();
                of(c::elucid_open(
                    model,
                    bytes.len(),
                    &options,
                    room,
                    memory.len(),
                    &mut explainer,
                ));
                of(c::elucid_set_pool(explainer, null()));
                let mut name = [1; 50];
                of(c::elucid_class_name(
                    explainer,
                    0,
                    name.as_mut_ptr(),
                    name.len(),
                ));
                let frame = c::elucid_frame {
                    data: image.values.as_ptr().cast(),
                    bytes: size_of_val(&image.values[..]),
                    width: shape.w,
                    height: shape.h,
                    format: c::ELUCID_TENSOR_F32,
                    ..MaybeUninit::zeroed().assume_init()
                };
                let mut result = MaybeUninit::<c::elucid_result>::zeroed().assume_init();
                let mut logits = vec![0f32; info.classes as usize];
                of(c::elucid_classify(
                    explainer,
                    &frame,
                    &mut result,
                    logits.as_mut_ptr(),
                    logits.len(),
                ));
                assert_eq!((result.predicted, result.relevance), (seed.predicted, 0.0));
                of(c::elucid_explain(
                    explainer,
                    null(),
                    c::RANK_OF_1,
                    &mut result,
                ));
                assert_eq!(
                    (result.target, result.relevance),
                    (seed.target, seed.relevance)
                );
                assert_eq!(logits[seed.target as usize], seed.logit);
                let picture = c::elucid_picture {
                    data: map.as_mut_ptr().cast(),
                    bytes: size_of_val(&map[..]),
                    width: shape.w,
                    height: shape.h,
                    format: c::ELUCID_HEAT_F32,
                    ..MaybeUninit::zeroed().assume_init()
                };
                of(c::elucid_heat(explainer, null(), &picture));
                let mut ledger = MaybeUninit::<c::elucid_ledger>::zeroed().assume_init();
                let mut steps = vec![
                    MaybeUninit::<c::elucid_ledger_step>::zeroed().assume_init();
                    info.steps as usize
                ];
                of(c::elucid_audit(
                    explainer,
                    &mut ledger,
                    steps.as_mut_ptr(),
                    steps.len(),
                ));
                assert!(ledger.balances == 1 && ledger.steps <= info.steps);
                assert!((ledger.start - f64::from(seed.relevance)).abs() < 1e-12);
                let lost = ledger.start - ledger.map - ledger.eps - ledger.dead;
                assert!(lost.abs() <= 1e-5 * ledger.start.abs(), "{ledger:?}");
                let used = &steps[..ledger.steps as usize];
                assert!(
                    used.iter()
                        .all(|s| (c::ELUCID_SPLIT..=c::ELUCID_COLLECT).contains(&s.act))
                );
                assert!((used.last().unwrap().out - ledger.map).abs() <= 1e-5 * ledger.start.abs());
                of(c::elucid_close(explainer));
                assert_eq!(c::elucid_close(explainer), Status::Handle as i32);
                let mut gpu = MaybeUninit::<c::elucid_cuda_info>::zeroed().assume_init();
                let probed = c::elucid_cuda_probe(0, &mut gpu);
                let opened = c::elucid_cuda_open(
                    0,
                    model,
                    bytes.len(),
                    &options,
                    room,
                    memory.len(),
                    &mut explainer,
                );
                if probed != 0 {
                    assert_eq!(opened, probed);
                } else if opened == 0 {
                    of(c::elucid_close(explainer));
                }
            }
            assert_eq!(map, want, "{preset} {split}");
        }
    }
}
