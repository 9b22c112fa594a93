/*
 * Parameters of the layers of transformers and of the adapter.
 *
 * Activations are [images, tokens + rows * columns, channels]: tokens before the grid. Where a kernel takes `vector`, it
 * is 1 if every address is a multiple of 16 bytes and every count of elements that separates two rows one of 4.
 */
#ifndef ELUCID_PARAMS_TOKEN_H
#define ELUCID_PARAMS_TOKEN_H

/* elucid_tokens: one thread per element of an image, or per 4 with vector; images in the second dimension of the grid. */
typedef struct TokensParams {
    const float *tokens; /* `head` elements */
    const float *x;      /* [images, rest] */
    float *y;            /* [images, head + rest] */
    unsigned int head;   /* elements of the tokens */
    unsigned int rest;   /* elements of an image before */
    unsigned int images;
    unsigned int vector;
} TokensParams;

/* elucid_slice: one thread per element that is cut out of an image, or per 4; images in the second dimension. */
typedef struct SliceParams {
    const float *x;      /* [images, stride] */
    float *y;            /* [images, count] */
    unsigned int first;  /* the first element that is cut out */
    unsigned int count;  /* elements that are cut out */
    unsigned int stride; /* elements of an image */
    unsigned int images;
    unsigned int vector;
    unsigned int reserved;
} SliceParams;

/* elucid_positions: one thread per element of an image, or per 4; images in the second dimension. */
typedef struct PositionsParams {
    const float *x;      /* [images, tokens + rows * columns, channels] */
    const float *head;   /* embeddings of the tokens, [tokens, channels], or 0 */
    const float *table;  /* embeddings of the grid, [table_rows, table_columns, channels] */
    float *y;            /* as x */
    unsigned int rows;   /* of the grid */
    unsigned int columns;
    unsigned int table_rows;
    unsigned int table_columns;
    unsigned int channels;
    unsigned int tokens;
    float down;          /* rows of the table for one row of the grid */
    float across;        /* columns of the table for one column of the grid */
    unsigned int images;
    unsigned int vector;
} PositionsParams;

/* elucid_norm: a warp per row of at most 1024 channels, a multiple of 4, addresses multiples of 16 bytes.
   elucid_norm_wide: a block per row, whatever it is. */
typedef struct NormParams {
    const float *x;      /* [rows, channels] */
    const float *weight; /* [channels], or 0 for ones */
    const float *bias;   /* [channels], or 0 for zeros */
    float *y;            /* as x */
    unsigned int rows;
    unsigned int channels;
    float eps;           /* added to the variance */
    unsigned int reserved;
} NormParams;

/* elucid_affine: one thread per element, or per 4. */
typedef struct AffineParams {
    const float *x;     /* [rows, channels] */
    const float *scale; /* [channels], or 0 for ones */
    const float *shift; /* [channels], or 0 for zeros */
    float *y;           /* as x */
    unsigned int count; /* elements of x */
    unsigned int channels;
    unsigned int vector;
    unsigned int reserved;
} AffineParams;

/* Keys of a tile, and threads of a block, of the attention kernels. */
#define ELUCID_ATTENTION_KEYS 32
#define ELUCID_ATTENTION_BLOCK 64

/* elucid_attention_16, _32, _40, _64, _128 for heads of at most as many channels: a block for 64 queries (32 of _128) of
   one head of one image; elucid_attention_wide for any: a block for 64 queries and 64 channels of one head. Grid: blocks
   of queries, heads (times blocks of 64 channels for _wide), images. */
typedef struct AttentionParams {
    const float *qkv;      /* [images, n, 3 * channels]: queries, keys, values, each head by head */
    float *y;              /* [images, n, channels] */
    unsigned int n;        /* rows */
    unsigned int channels; /* heads * width */
    unsigned int width;    /* channels of a head */
    unsigned int images;
    float scale;           /* log2(e) / sqrt(width) */
    unsigned int vector;
} AttentionParams;

/* elucid_fuse: one thread per element of an image, or per 4; images in the second dimension. */
typedef struct FuseParams {
    const float *map;         /* [images, map_rows, map_columns, channels] */
    const float *x;           /* [images, tokens + rows * columns, channels] */
    float *y;                 /* as x */
    unsigned int rows;        /* of the grid */
    unsigned int columns;
    unsigned int map_rows;
    unsigned int map_columns;
    unsigned int channels;
    unsigned int tokens;
    float down;               /* rows of the map for one row of the grid */
    float across;             /* columns of the map for one column of the grid */
    unsigned int images;
    unsigned int vector;
} FuseParams;

/* elucid_enlarge: one thread per pixel; images in the second dimension. */
typedef struct EnlargeParams {
    const float *map;   /* [images, map_rows, map_columns] */
    float *heat;        /* [images, targets, rows, columns] */
    unsigned int rows;
    unsigned int columns;
    unsigned int map_rows;
    unsigned int map_columns;
    float down;         /* rows of the map for one row of pixels */
    float across;       /* columns of the map for one column of pixels */
    unsigned int images;
    unsigned int targets;
} EnlargeParams;

/* elucid_matmul: a block for 64 pixels and 32 queries of an image. Grid: blocks of pixels, blocks of queries, images. */
typedef struct MatmulParams {
    const float *query;    /* [images, queries, channels] */
    const float *x;        /* [images, pixels, channels] */
    float *y;              /* [images, pixels, queries] */
    unsigned int queries;
    unsigned int pixels;
    unsigned int channels;
    unsigned int images;
    unsigned int vector;
    unsigned int reserved;
} MatmulParams;

/* elucid_minmax: a block per image. */
typedef struct MinmaxParams {
    const float *x;      /* [images, count] */
    float *y;            /* as x */
    unsigned int count;  /* elements of an image, at least 1 */
    unsigned int images;
} MinmaxParams;

/* elucid_mulmap: one thread per element, or per 4. */
typedef struct MulmapParams {
    const float *x;     /* [pixels, channels] */
    const float *map;   /* [pixels] */
    float *y;           /* as x */
    unsigned int count; /* elements of x */
    unsigned int channels;
    unsigned int vector;
    unsigned int reserved;
} MulmapParams;

#endif
