/*
 * Parameters of what lies between weighted layers: sums, pools, shortcuts, gates, both ends of an explanation, the ledger.
 */
#ifndef ELUCID_PARAMS_FLOW_H
#define ELUCID_PARAMS_FLOW_H

/* How the relevance of a sum is shared between its two branches. */
enum Share {
    SHARE_RESIDUAL = 0, /* all to the residual branch */
    SHARE_HALF = 1,     /* half and half */
    SHARE_RATIO = 2     /* in proportion to absolute values, 0/0 = 1/2 */
};

/* elucid_split, one thread per element; tensors are [pixels, channels]. */
typedef struct SplitParams {
    const float *residual;   /* activation of the residual branch; read for SHARE_RATIO only */
    const float *skip;       /* activation of the skip branch; read for SHARE_RATIO only */
    float *relevance;        /* of the sum; keeps the residual branch's share */
    float *skip_relevance;   /* gets the skip branch's share */
    unsigned int count;      /* elements of each tensor */
    unsigned int channels;   /* at least 1 */
    unsigned int live_start; /* channels in live_start..live_end take part in the split; */
    unsigned int live_end;   /* the others leave everything to the residual branch */
    unsigned int share;      /* an enum Share */
    unsigned int accumulate; /* 0: skip_relevance is written, 1: added to */
} SplitParams;

/* elucid_collect, one thread per pixel. */
typedef struct CollectParams {
    const float *relevance; /* of the image, [pixels, channels] */
    float *heat;            /* [pixels] */
    unsigned int pixels;
    unsigned int channels; /* at least 1 */
} CollectParams;

#endif
