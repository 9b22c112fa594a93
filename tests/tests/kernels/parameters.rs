//! The parameters of the kernels are the same in C and Rust: every struct, every field's place and kind, every constant.

/// `kernels/cu/params.h` as bindgen sees it.
#[allow(
    dead_code,
    missing_docs,
    non_upper_case_globals,
    unused_qualifications,
    clippy::undocumented_unsafe_blocks
)]
mod c {
    include!(concat!(env!("OUT_DIR"), "/params.rs"));
}

/// The same, to be read.
const TEXT: &str = include_str!(concat!(env!("OUT_DIR"), "/params.rs"));

/// What Rust has for a field of C.
trait Is<Rust> {}
impl Is<u32> for u32 {}
impl Is<f32> for f32 {}
impl Is<[f32; 3]> for [f32; 3] {}
impl<T> Is<elucid_kernels::params::Address> for *const T {}
impl<T> Is<elucid_kernels::params::Address> for *mut T {}
impl Is<elucid_kernels::params::ConvShape> for c::ConvShape {}

fn is<C: Is<Rust>, Rust>(_: &C, _: &Rust) {}

/// Compares structs of both sides; makes a list of them. The patterns have no `..`: a field that isn't named here doesn't
/// compile.
macro_rules! same {
    ($($name:ident { $($field:ident),* $(,)? }),* $(,)?) => {
        const STRUCTS: &[&str] = &[$(stringify!($name)),*];

        #[test]
        fn structs_are_the_same_in_c_and_rust() {
            $({
                use elucid_kernels::params as rust;
                let _ = |c::$name { $($field: _),* }: c::$name| {};
                let _ = |rust::$name { $($field: _),* }: rust::$name| {};
                let _ = |ours: &c::$name, theirs: &rust::$name| {
                    $(is(&ours.$field, &theirs.$field);)*
                };
                assert_eq!(size_of::<c::$name>(), size_of::<rust::$name>(), stringify!($name));
                assert_eq!(align_of::<c::$name>(), align_of::<rust::$name>(), stringify!($name));
                $(
                    assert_eq!(
                        std::mem::offset_of!(c::$name, $field),
                        std::mem::offset_of!(rust::$name, $field),
                        concat!(stringify!($name), ".", stringify!($field)),
                    );
                )*
            })*
        }
    };
}

same! {
    ConvShape {
        h, w, ci, oh, ow, co, kh, kw, stride, pad
    },
    ConvParams {
        x, weight, scale, shift, skip, y, shape, images, activation
    },
    QuotientParams {
        a, weight, r, sums, s, shape, eps, spread
    },
    BackParams {
        s, weight, a, r, sums, out, shape, plus, accumulate
    },
    DivideParams {
        r, z, s, count, spread
    },
    SumsParams {
        weight, sums, ci, panels, taps, reserved
    },
    OnesParams {
        r, sums, s, heat, shape, eps, spread, accumulate, reserved
    },
    TermWeightsParams {
        weight, scale, to, count, rows, co, part, gamma, sign
    },
    TermInputsParams {
        a, shift, x, bias, count, channels, co, of, part, gamma, sign, constant
    },
    FoldedDivideParams {
        r, z, whole, s, count, eps, factor, sign
    },
    SplitParams {
        residual, skip, relevance, skip_relevance, count, channels, live_start, live_end, share, eps, accumulate, vector
    },
    CollectParams {
        relevance, heat, pixels, channels, accumulate, reserved
    },
    AddParams {
        residual, skip, sum, count, relu, vector, reserved
    },
    GateParams {
        y, scale, relevance, count, channels, kind, eps, vector, reserved
    },
    SubsampleParams {
        from, to, count, in_h, in_w, in_c, out_h, out_w, out_c, stride, before, accumulate
    },
    PackParams {
        x, packed, count, vector
    },
    UnpackParams {
        packed, y, count, vector
    },
    MaxParams {
        x, y, count, in_h, in_w, out_h, out_w, channels, kernel, stride, pad, vector
    },
    MaxRelevanceParams {
        a, r, out, sums, in_h, in_w, out_h, out_w, channels, kernel, stride, pad, share, divisor, eps, accumulate, vector, reserved
    },
    AverageParams {
        x, y, pixels, channels
    },
    AverageRelevanceParams {
        a, r, out, sums, pixels, channels, eps, redistribute, accumulate, reserved
    },
    AverageGradientParams {
        r, out, count, channels, pixels, accumulate, vector, reserved
    },
    SeedRequest {
        kind, index
    },
    SeedResult {
        predicted, target, probability, logit, relevance, status
    },
    SeedParams {
        logits, relevance, requests, results, classes, targets, start, reserved
    },
    TotalParams {
        values, sums, count, channels, skip_start, skip_end
    },
    CellsParams {
        r, s, sums, count, eps, redistribute, reserved
    },
    TallyParams {
        sums, slots, blocks, width
    },
    RangeParams {
        map, ranges, count, reserved
    },
    HeatParams {
        ranges, map, count, blocks, levels, reserved
    },
    TokensParams {
        tokens, x, y, head, rest, images, vector
    },
    SliceParams {
        x, y, first, count, stride, images, vector, reserved
    },
    PositionsParams {
        x, head, table, y, rows, columns, table_rows, table_columns, channels, tokens, down, across, images, vector
    },
    NormParams {
        x, weight, bias, y, rows, channels, eps, reserved
    },
    AffineParams {
        x, scale, shift, y, count, channels, vector, reserved
    },
    AttentionParams {
        qkv, y, n, channels, width, images, scale, vector
    },
    FuseParams {
        map, x, y, rows, columns, map_rows, map_columns, channels, tokens, down, across, images, vector
    },
    EnlargeParams {
        map, heat, rows, columns, map_rows, map_columns, down, across, images, targets
    },
    MatmulParams {
        query, x, y, queries, pixels, channels, images, vector, reserved
    },
    MinmaxParams {
        x, y, count, images
    },
    MulmapParams {
        x, map, y, count, channels, vector, reserved
    },
}

/// Compares constants of both sides; makes a list of them.
macro_rules! equal {
    ($($name:ident = $rust:expr),* $(,)?) => {
        const CONSTANTS: &[&str] = &[$(stringify!($name)),*];

        #[test]
        fn constants_are_the_same_in_c_and_rust() {
            use elucid_kernels::params::*;
            $(assert_eq!(c::$name, $rust as u32, stringify!($name));)*
        }
    };
}

equal! {
    ELUCID_BLOCK = BLOCK,
    ELUCID_GEMM_BLOCK = GEMM_BLOCK,
    ELUCID_TILE = TILE,
    ELUCID_PANEL = PANEL,
    ELUCID_DEAD_CELL = DEAD_CELL,
    ELUCID_ATTENTION_KEYS = ATTENTION_KEYS,
    ELUCID_ATTENTION_BLOCK = ATTENTION_BLOCK,
    ACTIVATION_IDENTITY = Activation::Identity,
    ACTIVATION_RELU = Activation::Relu,
    ACTIVATION_GELU = Activation::Gelu,
    ACTIVATION_QUICK_GELU = Activation::QuickGelu,
    PART_ALL = Part::All,
    PART_POSITIVE = Part::Positive,
    PART_NEGATIVE = Part::Negative,
    PART_MORE_POSITIVE = Part::MorePositive,
    PART_MORE_NEGATIVE = Part::MoreNegative,
    PART_ONE = Part::One,
    PART_SQUARE = Part::Square,
    OF_ALL = Of::All,
    OF_POSITIVE = Of::Positive,
    OF_NEGATIVE = Of::Negative,
    OF_ONES = Of::Ones,
    OF_CONSTANT = Of::Constant,
    SHARE_RESIDUAL = Share::Residual,
    SHARE_HALF = Share::Half,
    SHARE_RATIO = Share::Ratio,
    SHARE_SIGNED = Share::Signed,
    SHARE_BOTH = Share::Both,
    GATE_OPEN = GateKind::Open,
    GATE_MASK = GateKind::Mask,
    GATE_CLAMP_MASK = GateKind::ClampMask,
    GATE_CLAMP = GateKind::Clamp,
    GATE_DIVIDE = GateKind::Divide,
    GATE_WEIGH = GateKind::Weigh,
    POOL_WINNER = PoolShare::Winner,
    POOL_AVERAGE = PoolShare::Average,
    SEED_WELL = SeedStatus::Well,
    SEED_NOT_FINITE = SeedStatus::NotFinite,
    SEED_NO_CLASS = SeedStatus::NoClass,
    START_PROBABILITY = Start::Probability,
    START_LOGIT = Start::Logit,
    START_ONE = Start::One,
}

/// What has no public twin in Rust.
const ALONE: &[&str] = &["ELUCID_LEAST_Z"];

/// The names in bindgen's text that come after `what`.
fn names(what: &str) -> Vec<&'static str> {
    let mut all: Vec<&str> = (TEXT.split(what).skip(1))
        .filter_map(|rest| rest.split_whitespace().next())
        .filter(|name| *name != "_")
        .collect();
    all.sort_unstable();
    all
}

fn sorted(lists: &[&[&'static str]]) -> Vec<&'static str> {
    let mut all = lists.concat();
    all.sort_unstable();
    all
}

#[test]
fn nothing_of_c_is_left_out() {
    assert_eq!(names("pub struct "), sorted(&[STRUCTS]), "structs");
    assert_eq!(
        names("pub const "),
        sorted(&[CONSTANTS, ALONE]),
        "constants"
    );
    // As `LEAST_Z` in core/src/op/mod.rs.
    assert_eq!(c::ELUCID_LEAST_Z as f32, 1e-30);
}

#[test]
fn arguments_have_the_sizes_that_kernels_say() {
    for kernel in elucid_kernels::kernels() {
        assert!(kernel.argument.is_multiple_of(8), "{}", kernel.entry);
        assert!((8..=256).contains(&kernel.argument), "{}", kernel.entry);
    }
}
