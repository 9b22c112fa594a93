/*
 * Parameters of what lies between weighted layers: sums, pools, shortcuts, gates, both ends of an explanation, the ledger.
 *
 * `vector` is 1 where all addresses are multiples of 16 bytes and each thread takes four neighbouring elements, which are
 * channels of one pixel wherever channels matter; `count` then is a multiple of 4.
 */
#ifndef ELUCID_PARAMS_FLOW_H
#define ELUCID_PARAMS_FLOW_H

/* How the relevance of a sum is shared between its two branches. */
enum Share {
    SHARE_RESIDUAL = 0, /* all to the residual branch */
    SHARE_HALF = 1,     /* half and half */
    SHARE_RATIO = 2,    /* in proportion to absolute values, 0/0 = 1/2 */
    SHARE_SIGNED = 3,   /* in proportion to signed values, by their sum and eps with its sign */
    SHARE_BOTH = 4      /* all to each of both: a derivative */
};

/* elucid_split, one thread per element; tensors are [pixels, channels]. */
typedef struct SplitParams {
    const float *residual;   /* activation of the residual branch; read for SHARE_RATIO and SHARE_SIGNED only */
    const float *skip;       /* activation of the skip branch; read for the same */
    float *relevance;        /* of the sum; keeps the residual branch's share */
    float *skip_relevance;   /* gets the skip branch's share */
    unsigned int count;      /* elements of each tensor */
    unsigned int channels;   /* at least 1 */
    unsigned int live_start; /* channels in live_start..live_end take part in the split; */
    unsigned int live_end;   /* the others leave everything to the residual branch */
    unsigned int share;      /* an enum Share */
    float eps;               /* of SHARE_SIGNED */
    unsigned int accumulate; /* 0: skip_relevance is written, 1: added to */
    unsigned int vector;     /* only where all channels take part */
} SplitParams;

/* elucid_collect, one thread per pixel. */
typedef struct CollectParams {
    const float *relevance; /* of the image, [pixels, channels] */
    float *heat;            /* [pixels] */
    unsigned int pixels;
    unsigned int channels;   /* at least 1 */
    unsigned int accumulate; /* 0: heat is written, 1: added to */
    unsigned int reserved;
} CollectParams;

/* elucid_add, one thread per element. */
typedef struct AddParams {
    const float *residual;
    const float *skip;
    float *sum;
    unsigned int count; /* elements of each tensor */
    unsigned int relu;  /* 1: what is negative becomes 0 */
    unsigned int vector;
    unsigned int reserved;
} AddParams;

/* What becomes of r, the derivative by an output y. */
enum GateKind {
    GATE_OPEN = 0,       /* r */
    GATE_MASK = 1,       /* r [y > 0] */
    GATE_CLAMP_MASK = 2, /* max(r, 0) [y > 0] */
    GATE_CLAMP = 3,      /* max(r, 0) */
    GATE_DIVIDE = 4,     /* r / (y + eps sign(y)), where 0 is positive; 0 where that denominator is 0 */
    GATE_WEIGH = 5       /* r y */
};

/* elucid_gate, one thread per element; tensors are [pixels, channels]. */
typedef struct GateParams {
    const float *y;     /* output; not read for GATE_OPEN and GATE_CLAMP */
    const float *scale; /* a factor for each channel, or none */
    float *relevance;   /* changed in place */
    unsigned int count; /* elements of each tensor */
    unsigned int channels;
    unsigned int kind; /* an enum GateKind */
    float eps;         /* of GATE_DIVIDE */
    unsigned int vector;
    unsigned int reserved;
} GateParams;

/* elucid_subsample, one thread per element of the output; elucid_subsample_relevance, one per element of the input. */
typedef struct SubsampleParams {
    const float *from;  /* input, [images, in_h, in_w, in_c]; relevance of the output for the way back */
    float *to;          /* output, [images, out_h, out_w, out_c]; relevance of the input for the way back */
    unsigned int count; /* elements of `to` */
    unsigned int in_h, in_w, in_c;
    unsigned int out_h, out_w, out_c;
    unsigned int stride;
    unsigned int before;     /* zero channels before those that pass */
    unsigned int accumulate; /* of the way back; 0: `to` is written, 1: added to */
} SubsampleParams;

/* elucid_pack, one thread for eight elements. */
typedef struct PackParams {
    const float *x;      /* [count] */
    float *packed;       /* two halves in each, [ceil(count / 2)] */
    unsigned int count;  /* any */
    unsigned int vector; /* 1: both addresses are multiples of 16 bytes */
} PackParams;

/* elucid_unpack, one thread for eight elements. */
typedef struct UnpackParams {
    const float *packed; /* two halves in each, [ceil(count / 2)] */
    float *y;            /* [count] */
    unsigned int count;  /* any */
    unsigned int vector; /* 1: both addresses are multiples of 16 bytes */
} UnpackParams;

/* elucid_max, one thread per element of the output, [images, out_h, out_w, channels]. */
typedef struct MaxParams {
    const float *x;     /* [images, in_h, in_w, channels] */
    float *y;           /* the largest of each window */
    unsigned int count; /* elements of y */
    unsigned int in_h, in_w, out_h, out_w;
    unsigned int channels;
    unsigned int kernel, stride, pad;
    unsigned int vector; /* channels are a multiple of 4 */
} MaxParams;

/* How relevance passes a max pool. */
enum PoolShare {
    POOL_WINNER = 0, /* all to the first maximum of a window */
    POOL_AVERAGE = 1 /* as through an average */
};

/*
 * elucid_max_relevance, one thread per element of the input, of one map; elucid_max_sinks, whose threads go over the output.
 * kernel, stride and pad are those of the windows that relevance passes: the pool's own or, by the rule of the reference,
 * stride x stride without padding.
 */
typedef struct MaxRelevanceParams {
    const float *a; /* input, [in_h, in_w, channels] */
    const float *r; /* relevance of the output, [out_h, out_w, channels] */
    float *out;     /* relevance of the input; not touched by elucid_max_sinks */
    double *sums;   /* of elucid_max_sinks: eps, dead and redistributed of each block */
    unsigned int in_h, in_w, out_h, out_w;
    unsigned int channels;
    unsigned int kernel, stride, pad;
    unsigned int share;      /* an enum PoolShare */
    float divisor;           /* cells of a window in an average; 0: as many as lie in the input */
    float eps;               /* added to averages */
    unsigned int accumulate; /* 0: out is written, 1: added to */
    unsigned int vector;     /* channels are a multiple of 4 */
    unsigned int reserved;
} MaxRelevanceParams;

/* elucid_average, one block for 32 channels of one image. */
typedef struct AverageParams {
    const float *x; /* [images, pixels, channels] */
    float *y;       /* [images, channels] */
    unsigned int pixels;
    unsigned int channels;
} AverageParams;

/* elucid_average_relevance, one block for 32 channels of one map; elucid_average_sinks. */
typedef struct AverageRelevanceParams {
    const float *a; /* input, [pixels, channels] */
    const float *r; /* relevance of the output, [channels] */
    float *out;     /* relevance of the input; not touched by elucid_average_sinks */
    double *sums;   /* of elucid_average_sinks: eps, dead and redistributed of each block */
    unsigned int pixels;
    unsigned int channels;
    float eps;                 /* added to means */
    unsigned int redistribute; /* 1: even shares where a mean vanishes, 0: nothing */
    unsigned int accumulate;   /* 0: out is written, 1: added to */
    unsigned int reserved;
} AverageRelevanceParams;

/* elucid_average_gradient, one thread per element of the input, of one map. */
typedef struct AverageGradientParams {
    const float *r;     /* derivative by the output, [channels] */
    float *out;         /* derivative by the input, [pixels, channels] */
    unsigned int count; /* elements of out */
    unsigned int channels;
    float pixels;
    unsigned int accumulate; /* 0: out is written, 1: added to */
    unsigned int vector;     /* channels are a multiple of 4 */
    unsigned int reserved;
} AverageGradientParams;

/* The class that a map is to explain. */
typedef struct SeedRequest {
    unsigned int kind;  /* 0: the class with `index` others before it; 1: class `index` */
    unsigned int index; /* a rank or a class */
} SeedRequest;

/* What a SeedResult says of its map. */
enum SeedStatus {
    SEED_WELL = 0,
    SEED_NOT_FINITE = 1, /* a logit is NaN or infinite, or there are none */
    SEED_NO_CLASS = 2    /* there is no such class */
};

/* What the network said, and what is explained of it. */
typedef struct SeedResult {
    unsigned int predicted; /* the predicted class: the first of the largest logits */
    unsigned int target;    /* the explained class */
    float probability;      /* its softmax probability */
    float logit;            /* its logit */
    float relevance;        /* the relevance it starts with */
    unsigned int status;    /* an enum SeedStatus; the other fields are 0 unless all is well */
} SeedResult;

/* The relevance that the explained class starts with. */
enum Start {
    START_PROBABILITY = 0, /* its softmax probability */
    START_LOGIT = 1,       /* its logit */
    START_ONE = 2          /* one */
};

/* elucid_seed, one block per map. */
typedef struct SeedParams {
    const float *logits;         /* [images, classes] */
    float *relevance;            /* of the logits, [images, targets, classes] */
    const SeedRequest *requests; /* [images, targets] */
    SeedResult *results;         /* [images, targets] */
    unsigned int classes;
    unsigned int targets; /* maps of each image, at least 1 */
    unsigned int start;   /* an enum Start */
    unsigned int reserved;
} SeedParams;

/* elucid_total: the sum of what lies in all channels but skip_start..skip_end, block by block. */
typedef struct TotalParams {
    const float *values; /* [pixels, channels] */
    double *sums;        /* one of each block */
    unsigned int count;  /* elements */
    unsigned int channels;
    unsigned int skip_start;
    unsigned int skip_end;
} TotalParams;

/* elucid_cells: what became of the relevance of z+ cells, block by block. */
typedef struct CellsParams {
    const float *r;            /* relevance of the output, [count] */
    const float *s;            /* r / (z + eps), or a dead cell's mark, [count] */
    double *sums;              /* eps, dead and redistributed of each block */
    unsigned int count;        /* cells */
    float eps;                 /* added to every z */
    unsigned int redistribute; /* 1: dead cells are marked and were redistributed; 0: they have s = 0 and are lost */
    unsigned int reserved;
} CellsParams;

/* elucid_tally, one block: the sums of all blocks in one. */
typedef struct TallyParams {
    const double *sums;  /* [blocks, width] */
    double *slots;       /* [width] */
    unsigned int blocks; /* any */
    unsigned int width;  /* sums side by side */
} TallyParams;

/* elucid_range, whose threads go over a map: smallest, largest and whether there is a NaN, block by block. */
typedef struct RangeParams {
    const float *map; /* [count] */
    float *ranges;    /* [3, blocks] */
    unsigned int count;
    unsigned int reserved;
} RangeParams;

/* elucid_quantize and elucid_normalize, one thread per pixel. */
typedef struct HeatParams {
    const float *ranges; /* [3, blocks] of elucid_range */
    float *map;          /* [count], changed in place */
    unsigned int count;
    unsigned int blocks; /* of elucid_range */
    unsigned int levels; /* of elucid_quantize */
    unsigned int reserved;
} HeatParams;

#endif
