/*
 * Parameters of weighted layers.
 *
 * Activations are [h, w, channels]; weights are panels of sixteen output channels, [co/16][kh*kw*ci][16], padded with zeros.
 */
#ifndef ELUCID_PARAMS_CONV_H
#define ELUCID_PARAMS_CONV_H

/* Threads of a block of the products, and what it computes: TILE pixels (or a half) times TILE channels. */
#define ELUCID_GEMM_BLOCK 128
#define ELUCID_TILE 64

/* Output channels of a panel. */
#define ELUCID_PANEL 16

/* Stands in s for a cell whose z vanished and whose relevance is to be spread over its inputs: bits that no division gives. */
#define ELUCID_DEAD_CELL 0x7FFFDEADu

/* z at or below this counts as 0: a quotient by it could overflow. */
#define ELUCID_LEAST_Z 1e-30f

/* What ends a forward pass. */
enum Activation {
    ACTIVATION_IDENTITY = 0,
    ACTIVATION_RELU = 1,
    ACTIVATION_GELU = 2,
    ACTIVATION_QUICK_GELU = 3
};

/* A convolution between two shapes; a fully connected layer is one over a single pixel. */
typedef struct ConvShape {
    unsigned int h, w, ci;   /* of the input */
    unsigned int oh, ow, co; /* of the output */
    unsigned int kh, kw, stride, pad;
} ConvShape;

/* elucid_conv_*: y = activation(conv(x, w) * scale + shift + skip), grid [pixels / tile, co / ELUCID_TILE]. */
typedef struct ConvParams {
    const float *x;     /* [images, h, w, ci] */
    const void *weight; /* panels, float or half as the kernel's name says */
    const float *scale; /* [co], or null for 1 */
    const float *shift; /* [co], or null for 0 */
    const float *skip;  /* [images, oh, ow, co], or null; may be y itself */
    float *y;           /* [images, oh, ow, co] */
    ConvShape shape;
    unsigned int images;
    unsigned int activation; /* an enum Activation */
} ConvParams;

/* elucid_z_*: z = conv(a, max(w, 0)) + eps of one image, and s = r / z, 0 where z vanishes; grid as elucid_conv_*. */
typedef struct QuotientParams {
    const float *a;      /* [h, w, ci] */
    const void *weight;  /* panels */
    const float *r;      /* relevance of the output, [oh, ow, co]; null: z itself is written */
    const float *sums;   /* of the positive weights, [taps + 1, panels * 16], for elucid_tensor_z_f16; null: eps is no small one */
    float *s;            /* [oh, ow, co] */
    ConvShape shape;
    float eps;
    unsigned int spread; /* 1: cells whose z vanishes are marked by ELUCID_DEAD_CELL where they hold relevance */
} QuotientParams;

/* elucid_back_*: out (+)= a * conv_transposed(s, w) of one image, grid [pixels / tile, ci / ELUCID_TILE, stride * stride]. */
typedef struct BackParams {
    const float *s;      /* [oh, ow, co] */
    const void *weight;  /* panels */
    const float *a;      /* [h, w, ci], or null for ones */
    const float *r;      /* relevance of the output where s may mark dead cells, else null */
    const float *sums;   /* of the positive weights over ci, [taps, panels * 16]; null as r */
    float *out;          /* [h, w, ci] */
    ConvShape shape;
    unsigned int plus;       /* 1: of the weights only what is positive */
    unsigned int accumulate; /* 0: out is written, 1: added to */
} BackParams;

/* elucid_divide: s = r / z where z is known, one thread per element. */
typedef struct DivideParams {
    const float *r;
    const float *z;
    float *s;
    unsigned int count;
    unsigned int spread; /* as in QuotientParams */
} DivideParams;

/* elucid_sums_*: sums[tap, j] = sum over i of max(w[j, tap, i], 0), and in one more row the sums over all taps. */
typedef struct SumsParams {
    const void *weight; /* panels */
    float *sums;        /* [taps + 1, panels * 16] */
    unsigned int ci, panels, taps, reserved;
} SumsParams;

/* elucid_ones_divide, one thread per cell, and elucid_ones_collect, one warp per pixel: the layer that sees ones. */
typedef struct OnesParams {
    const float *r;    /* relevance of the output, [oh, ow, co] */
    const float *sums; /* [taps + 1, panels * 16] */
    float *s;          /* [oh, ow, co] */
    float *heat;       /* [h, w] */
    ConvShape shape;
    float eps;
    unsigned int spread;     /* as in QuotientParams */
    unsigned int accumulate; /* 0: heat is written, 1: added to */
    unsigned int reserved;
} OnesParams;

/* elucid_term_weights_*: to = sign * part(w * scale), one thread per stored weight. */
typedef struct TermWeightsParams {
    const void *weight; /* panels */
    const float *scale; /* [co], or null for 1 */
    float *to;          /* panels */
    unsigned int count; /* stored weights */
    unsigned int rows;  /* taps * ci */
    unsigned int co;
    unsigned int part; /* an enum Part */
    float gamma;
    float sign;
} TermWeightsParams;

/* elucid_term_inputs: what a term takes of the input, and of the bias; one thread per element of the longer. */
typedef struct TermInputsParams {
    const float *a;     /* [count] */
    const float *shift; /* [co], or null */
    float *x;           /* [count] */
    float *bias;        /* [co], or null */
    unsigned int count;
    unsigned int channels; /* ci */
    unsigned int co;
    unsigned int of;   /* an enum Of */
    unsigned int part; /* an enum Part, of the bias */
    float gamma;
    float sign;        /* of the bias */
    float constant[3]; /* for OF_CONSTANT, by colour */
} TermInputsParams;

/* elucid_folded_divide: s = factor * r / (z + eps sign(z)) for cells that pass, else 0; one thread per element. */
typedef struct FoldedDivideParams {
    const float *r;
    const float *z;
    const float *whole; /* product of all weights, or null where every cell passes */
    float *s;
    unsigned int count;
    float eps;
    float factor;
    float sign; /* cells pass whose whole has this sign */
} FoldedDivideParams;

/* What a term takes of weights and bias: core/src/op/conv/folded. */
enum Part {
    PART_ALL = 0,
    PART_POSITIVE = 1,
    PART_NEGATIVE = 2,
    PART_MORE_POSITIVE = 3, /* all, and the positive ones gamma times more */
    PART_MORE_NEGATIVE = 4,
    PART_ONE = 5,
    PART_SQUARE = 6
};

/* What a term takes of the input. */
enum Of {
    OF_ALL = 0,
    OF_POSITIVE = 1,
    OF_NEGATIVE = 2,
    OF_ONES = 3,
    OF_CONSTANT = 4
};

#endif
