/*
 * elucid: which pixels made the network say that?
 *
 * C99. A program in full, error handling left out:
 *
 *     elucid_info info;
 *     elucid_measure(model, model_bytes, NULL, NULL, 0, &info);
 *     void *memory = malloc(info.memory_bytes);
 *     elucid *explainer;
 *     elucid_open(model, model_bytes, NULL, memory, info.memory_bytes, &explainer);
 *
 *     elucid_frame frame = {0};                       (for every frame of the camera)
 *     frame.data = rgb, frame.bytes = 3 * w * h, frame.width = w, frame.height = h;
 *     elucid_result result;
 *     elucid_explain(explainer, &frame, ELUCID_PREDICTED, &result);
 *
 *     elucid_picture picture = {0};
 *     picture.data = rgba, picture.bytes = 4 * w * h, picture.width = w, picture.height = h;
 *     picture.format = ELUCID_HEAT_RGBA8;
 *     elucid_heat(explainer, &frame, &picture);       (the frame with the heat over it)
 *
 *     elucid_close(explainer);
 *     free(memory);
 *
 * Ownership. The caller owns all memory. The library keeps two pointers from elucid_open to elucid_close: the model's bytes, which it
 * only reads, and the explainer's memory. Everything else is borrowed for the length of a call. elucid_close frees nothing.
 *
 * Allocation. None, with one exception: elucid_measure without working memory takes some from the heap and gives it back before it
 * returns. (elucid_cuda_probe makes the CUDA driver allocate, where there is one.) The bare build, for boards without an operating
 * system, has no heap and needs the working memory.
 *
 * Errors. Every call that can fail returns a status, ELUCID_OK = 0 or one of ELUCID_E_*. On an error outputs are untouched: no struct
 * and no picture was written to. The explainer stays usable; whether it still holds the last frame is said at each function. A wrong
 * call is answered by a status as far as it can be known: null, alignment, size, overlap, order, an explainer that was closed. That a
 * buffer is as long as it is said to be, only the caller can know.
 *
 * Threads. There is no global state. Different explainers may be used by different threads at once, also on the same model. One explainer
 * is for one call at a time, from any thread; a second call meanwhile gets ELUCID_E_BUSY, elucid_close as well. A call that comes while
 * another thread closes the explainer gets ELUCID_E_BUSY or ELUCID_E_HANDLE, as long as the memory is there.
 *
 * Stack. A call takes less than 16 KiB of it.
 *
 * Order of calls: open, then classify or explain for each frame; heat and audit after explain; close.
 *
 * ABI. Enumerators and structs keep their values and layout within a major version, from 1.0 on. Reserved fields must be 0: start from
 * a zeroed struct. Sizes are in bytes unless said otherwise.
 */
#ifndef ELUCID_H
#define ELUCID_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header, as elucid_version gives that of the library: major << 16 | minor << 8 | patch. */
#define ELUCID_VERSION 0x000100

/* An explainer. Opaque; it lies in the caller's memory and must not be moved or copied. */
typedef struct elucid elucid;

/* What a call says: ELUCID_OK, or ELUCID_E_*. (An integer of fixed size, since enums have different sizes under different compilers.) */
typedef int32_t elucid_status;

enum {
    ELUCID_OK = 0,                 /* done */
    /* the call */
    ELUCID_E_NULL = 1,             /* a pointer that must not be null is */
    ELUCID_E_ALIGNMENT = 2,        /* a pointer or stride of floats or structs is not a multiple of their alignment */
    ELUCID_E_OVERLAP = 3,          /* an output overlaps another buffer of the call or of the explainer */
    ELUCID_E_TOO_SMALL = 4,        /* a buffer is shorter than needed */
    ELUCID_E_TOO_LARGE = 5,        /* a size that can't be: beyond the address space, or a frame, a picture or an input with a side
                                      above 32768 pixels */
    ELUCID_E_OPTIONS = 6,          /* an option without such a value, a reserved field that isn't 0, or no audit was asked for */
    ELUCID_E_FRAME = 7,            /* no such frame or picture: format, a side of 0, stride below a row, size of a tensor */
    ELUCID_E_HANDLE = 8,           /* not an open explainer: closed, moved or overwritten */
    ELUCID_E_BUSY = 9,             /* another call is using the explainer */
    ELUCID_E_ORDER = 10,           /* something else must be called first */
    ELUCID_E_TARGET = 11,          /* the model has no such class */
    ELUCID_E_NOT_FINITE = 12,      /* NaN or infinity in the frame or in what the network computed */
    /* the model */
    ELUCID_E_TRUNCATED = 20,       /* it ends too early, or is empty */
    ELUCID_E_NOT_A_MODEL = 21,     /* it is something else */
    ELUCID_E_VERSION = 22,         /* of a format version that this library doesn't know */
    ELUCID_E_CHECKSUM = 23,        /* damaged */
    ELUCID_E_RECORD = 24,          /* damaged, or made by something else than elucid */
    ELUCID_E_MISALIGNED = 25,      /* its bytes must start at a multiple of 4; best of 64 */
    ELUCID_E_SHAPE = 26,           /* it can't take an image of this size */
    ELUCID_E_UNSUPPORTED = 27,     /* it can't be explained so */
    ELUCID_E_ARCHITECTURE = 28,    /* there is no such network */
    /* CUDA */
    ELUCID_E_NO_DRIVER = 40,       /* no libcuda on this machine, or a bare build */
    ELUCID_E_NO_DEVICE = 41,       /* no device of this number */
    ELUCID_E_DRIVER_BROKEN = 42,   /* the driver is there but fails */
    ELUCID_E_NO_KERNELS = 43,      /* not said any more: a library without CUDA kernels for whole networks */
    ELUCID_E_NO_COMPILER = 44,     /* no run-time compiler (NVRTC) that knows the device */
    ELUCID_E_DEVICE_MEMORY = 45,   /* too little memory on the device */
    ELUCID_E_DEVICE = 46,          /* the device or a kernel on it failed, or it is too old */
    /* a bug of elucid: please report it */
    ELUCID_E_INTERNAL = 60
};

/*
 * elucid_options.preset: the rules by which relevance is propagated. A vision transformer with an attention lattice adapter has no use
 * for them: the map is the adapter's own, 0 to 1, the same for every class, and nothing is conserved.
 */
enum {
    ELUCID_EXACT = 0,              /* no leaks: the map sums to the start to 1e-5 */
    ELUCID_PAPER = 1               /* as the reference implementation of the ECCV 2024 paper, leaks included */
};

/* elucid_options.split: how relevance is shared where a skip branch meets a residual branch. */
enum {
    ELUCID_RATIO = 0,              /* in proportion to their absolute values (proposed by the paper) */
    ELUCID_HALF = 1,               /* half and half */
    ELUCID_PROJECTION_RATIO = 2,   /* in proportion at projections; identity skips get nothing */
    ELUCID_PROJECTION_HALF = 3     /* half and half at projections; identity skips get nothing */
};

/* elucid_options.init: the relevance that the explained class starts with. */
enum {
    ELUCID_PROBABILITY = 0,        /* its softmax probability */
    ELUCID_LOGIT = 1,              /* its logit */
    ELUCID_ONE = 2                 /* 1 */
};

/* elucid_options.memory: what is kept of the way forward for the way back. All give the same bits. */
enum {
    ELUCID_BLOCK = 0,              /* the inputs of blocks */
    ELUCID_KEEP = 1,               /* everything: fastest, most memory */
    ELUCID_STAGE = 2               /* the inputs of stages: slowest, least memory */
};

/* How an explainer works. All zero is the default, and a null pointer means that. */
typedef struct elucid_options {
    uint32_t preset;               /* ELUCID_EXACT.. */
    uint32_t split;                /* ELUCID_RATIO.. */
    uint32_t init;                 /* ELUCID_PROBABILITY.. */
    uint32_t memory;               /* ELUCID_BLOCK.. */
    uint32_t half;                 /* 1: what is kept lies in half precision; half the memory, 11 bits */
    uint32_t threads;              /* most threads that elucid_set_pool may bring, up to 1024; 0 is 1 */
    uint32_t width, height;        /* of the network's input, pixels, up to 32768; 0, 0: as the model says */
    uint32_t audit;                /* 1: elucid_explain keeps a ledger for elucid_audit */
    uint32_t reserved[7];          /* 0 */
} elucid_options;

/* What elucid_measure finds. */
typedef struct elucid_info {
    size_t memory_bytes;           /* what elucid_open asks for, at any alignment */
    size_t work_bytes;             /* what elucid_measure itself needs */
    uint32_t width, height;        /* of the network's input and of the map, pixels */
    uint32_t classes;              /* logits of the network */
    uint32_t steps;                /* most steps of the ledger */
    uint32_t max_frame_width;      /* the widest frame that can be resized in this memory, pixels */
    uint32_t reserved[3];
} elucid_info;

/* elucid_frame.format. Rows run from the top, pixels from the left. */
enum {
    ELUCID_RGB8 = 0,               /* red, green, blue, a byte each */
    ELUCID_BGR8 = 1,               /* blue, green, red, a byte each */
    ELUCID_NV12 = 2,               /* data: luma, a byte a pixel. chroma: half the rows, pairs of blue and red difference, one for 2 x 2
                                      pixels, both sides rounded up */
    ELUCID_RGB_F32 = 3,            /* red, green, blue as floats from 0 to 1 */
    ELUCID_TENSOR_F32 = 4          /* the network's input itself: normalised, in the network's order of channels, [height, width, 3]
                                      of exactly the size in elucid_info, no gaps between rows. Nothing is done to it. */
};

/* elucid_frame.matrix, for NV12. */
enum {
    ELUCID_BT601 = 0,              /* luma 16 to 235: most cameras */
    ELUCID_BT709 = 1,              /* luma 16 to 235: high definition */
    ELUCID_BT601_FULL = 2,         /* luma 0 to 255: JPEG */
    ELUCID_BT709_FULL = 3          /* luma 0 to 255 */
};

/*
 * A frame in the caller's memory, read only during a call. Of any size up to 32768 x 32768 and elucid_info.max_frame_width: the library
 * resizes (antialiased), crops and normalises it as the model file says, the way the network was trained, in the explainer's memory.
 */
typedef struct elucid_frame {
    const void *data;              /* the first row; for float formats at a multiple of 4 */
    size_t bytes;                  /* that can be read from data on */
    size_t stride;                 /* bytes from a row to the next; 0: no gap */
    const void *chroma;            /* NV12: the second plane; else unused */
    size_t chroma_bytes;
    size_t chroma_stride;          /* 0: no gap */
    uint32_t width, height;        /* pixels */
    uint32_t format;               /* ELUCID_RGB8.. */
    uint32_t matrix;               /* NV12: ELUCID_BT601.. */
} elucid_frame;

/* elucid_picture.format. */
enum {
    ELUCID_HEAT_F32 = 16,          /* relevance, one float a pixel: at the map's own size without a frame exactly the map, which sums to
                                      the start; at other sizes interpolated */
    ELUCID_HEAT_U8 = 17,           /* 0 for none or negative relevance to 255; 255 for the largest half per cent of the map */
    ELUCID_HEAT_RGBA8 = 18         /* red, green, blue, alpha, smoothed. With a frame: the frame in grey under the colours, opaque.
                                      Without: colours whose alpha (not premultiplied) is strong where relevance is */
};

/* A picture that elucid_heat writes, in the caller's memory. */
typedef struct elucid_picture {
    void *data;                    /* the first row; for floats at a multiple of 4 */
    size_t bytes;                  /* that can be written from data on */
    size_t stride;                 /* bytes from a row to the next; 0: no gap */
    uint32_t width, height;        /* pixels, any size up to 32768 */
    uint32_t format;               /* ELUCID_HEAT_F32.. */
    uint32_t reserved;             /* 0 */
} elucid_picture;

/* What the network said and what was explained of it. */
typedef struct elucid_result {
    uint32_t predicted;            /* the class with the largest logit */
    uint32_t target;               /* the explained class */
    float predicted_probability;   /* softmax, 0 to 1 */
    float probability;             /* that of the explained class */
    float logit;                   /* that of the explained class */
    float relevance;               /* that the explained class started with; 0 after elucid_classify */
} elucid_result;

/* What became of the relevance of an explanation: start = map + eps + dead up to rounding. */
typedef struct elucid_ledger {
    double start;                  /* relevance of the explained class */
    double map;                    /* sum of the map */
    double eps;                    /* lost to the eps in denominators */
    double dead;                   /* lost in cells that nothing positive enters */
    double redistributed;          /* not lost: of such cells, spread over what they see */
    double unexplained;            /* largest difference of a step that none of these explain: rounding */
    uint32_t steps;                /* steps of this explanation, at most elucid_info.steps */
    uint32_t balances;             /* 1 if unexplained is at most 1e-5 of the start */
} elucid_ledger;

/* elucid_ledger_step.act. */
enum {
    ELUCID_SPLIT = 3,              /* relevance of a sum was split between its branches */
    ELUCID_RELEVANCE = 4,          /* relevance of a layer's input from that of its output */
    ELUCID_COLLECT = 5             /* relevance of the image was summed over its channels */
};

/* One step of the ledger: into = out + eps + dead up to rounding. */
typedef struct elucid_ledger_step {
    double into;                   /* relevance that arrived */
    double out;                    /* relevance that went on */
    double eps, dead, redistributed;
    uint32_t node;                 /* of the network, as `elucid inspect` numbers them */
    uint32_t act;                  /* ELUCID_SPLIT.. */
} elucid_ledger_step;

/* A piece of work: to be called with its data by each thread of a pool. */
typedef void (*elucid_work)(void *data);

/*
 * Calls work(data) once on each of `threads` threads at the same time (the calling one may be among them) and returns when all have
 * returned. Called by the thread that called elucid, only during a call. Must not call elucid on the same explainer, nor throw or longjmp.
 */
typedef void (*elucid_broadcast)(void *context, elucid_work work, void *data);

/* Threads that the caller lends. */
typedef struct elucid_pool {
    void *context;                 /* handed to broadcast as it is */
    elucid_broadcast broadcast;
    uint32_t threads;              /* 1 to elucid_options.threads */
    uint32_t reserved;             /* 0 */
} elucid_pool;

/* A CUDA device. */
typedef struct elucid_cuda_info {
    uint64_t memory_bytes;         /* of the device */
    uint32_t devices;              /* on this machine */
    uint32_t capability_major, capability_minor;
    uint32_t integrated;           /* 1: shares its memory with the CPU, as on a Jetson */
    uint32_t compiler;             /* 1: NVRTC was found */
    uint32_t kernels;              /* 1: elucid_cuda_open can work in this build */
    char name[64];                 /* ends with a 0, cut off if it is longer */
} elucid_cuda_info;

/* Targets of elucid_explain besides 0, 1, 2..: the predicted class, and the one with n likelier than it (ELUCID_RANK(0) is the predicted). */
#define ELUCID_PREDICTED (-1)
#define ELUCID_RANK(n) (-1 - (int32_t)(n))

/* The version of the library: major << 16 | minor << 8 | patch. Any thread. */
uint32_t elucid_version(void);

/* One line of English for a status: what, and the mend. A constant of the library, never null. Any thread. */
const char *elucid_strerror(elucid_status status);

/*
 * Plans an explainer without making it: says how much memory elucid_open will need, exactly, and what the network's sizes are.
 *
 * model, model_bytes   the whole .elucid file, at a multiple of 4 (best of 64); read only
 * options              or null for the defaults
 * work, work_bytes     memory to plan in, any alignment: what it held is lost. Null, 0: taken from the heap meanwhile (the bare build
 *                      answers ELUCID_E_TOO_SMALL). About 2.5 KB for each layer of the network; the memory for elucid_open, if there
 *                      is any yet, is large enough.
 * info                 is written
 *
 * Errors: NULL, ALIGNMENT, TOO_LARGE, OVERLAP, OPTIONS, TOO_SMALL (work), those of the model, SHAPE if the network can't take
 * options.width x height. Any thread.
 */
elucid_status elucid_measure(const void *model, size_t model_bytes, const elucid_options *options, void *work, size_t work_bytes,
                             elucid_info *info);

/*
 * Makes an explainer in the caller's memory.
 *
 * model, model_bytes   as for elucid_measure; kept, unchanged, until elucid_close. Several explainers may share a model.
 * options              or null; not kept
 * memory, memory_bytes at least elucid_info.memory_bytes for the same model and options, any alignment; the library's until
 *                      elucid_close, not to be moved
 * explainer            is written: points into memory
 *
 * Errors: as elucid_measure, TOO_SMALL for the memory. Any thread.
 */
elucid_status elucid_open(const void *model, size_t model_bytes, const elucid_options *options, void *memory, size_t memory_bytes,
                          elucid **explainer);

/*
 * Lends threads to an explainer, for all calls to come; null takes them back. The map is the same bit for bit with any number of threads.
 * The struct is copied; context must live until the pool is replaced or the explainer closed. The last frame is forgotten.
 *
 * Errors: NULL (no broadcast), OPTIONS (0 threads, or more than elucid_options.threads), HANDLE, BUSY.
 */
elucid_status elucid_set_pool(elucid *explainer, const elucid_pool *pool);

/*
 * Copies the name of a class, UTF-8 with a 0 at its end; empty where the model has no names.
 *
 * Errors: NULL, TARGET (no such class), TOO_SMALL (no room for name and 0), OVERLAP, HANDLE, BUSY.
 */
elucid_status elucid_class_name(elucid *explainer, uint32_t class_index, char *name, size_t bytes);

/*
 * Runs the network on a frame.
 *
 * frame                not kept
 * result               is written: the predicted class
 * logits, logit_count  null (the count is then ignored), or room for elucid_info.classes floats, which are written
 *
 * Errors: NULL, ALIGNMENT, TOO_SMALL (frame.bytes, logits; or the frame is wider than elucid_info.max_frame_width), TOO_LARGE, OVERLAP,
 * FRAME, NOT_FINITE, HANDLE, BUSY. After NOT_FINITE, or a frame that is too wide, the explainer holds no frame any more.
 */
elucid_status elucid_classify(elucid *explainer, const elucid_frame *frame, elucid_result *result, float *logits, size_t logit_count);

/*
 * Runs the network on a frame and explains what it said: afterwards the explainer holds the map.
 *
 * frame                null: explains the frame of the last elucid_classify, once (the way back uses up what the way forward left)
 * target               a class, ELUCID_PREDICTED or ELUCID_RANK(n)
 * result               is written
 *
 * Errors: as elucid_classify, TARGET (nothing was done), ORDER (no frame, and none classified before).
 */
elucid_status elucid_explain(elucid *explainer, const elucid_frame *frame, int32_t target, elucid_result *result);

/*
 * Draws the map of the last elucid_explain. May be called several times.
 *
 * frame     null: the picture shows what the network saw, of the frame's crop. Otherwise it shows the whole frame, with the map where the
 *           network looked and no relevance beside it; give the frame that was explained, not a tensor. Its pixels are only looked
 *           at for ELUCID_HEAT_RGBA8.
 * picture   its pixels are written, the gaps between rows are not
 *
 * Errors: NULL, ALIGNMENT, TOO_SMALL (picture.bytes, frame.bytes, a frame wider than elucid_info.max_frame_width), TOO_LARGE, OVERLAP,
 * FRAME, OPTIONS (reserved), NOT_FINITE (the map overflowed), ORDER (nothing was explained since the last frame), HANDLE, BUSY.
 */
elucid_status elucid_heat(elucid *explainer, const elucid_frame *frame, const elucid_picture *picture);

/*
 * Says what became of the relevance in the last elucid_explain, for an explainer with options.audit = 1.
 *
 * ledger           is written
 * steps, capacity  null (the capacity is then ignored), or room for at least ledger.steps steps (elucid_info.steps suffice), from the head to the image
 *
 * Errors: NULL, ALIGNMENT, OVERLAP, TOO_SMALL, ORDER (nothing was explained), OPTIONS (no audit was asked for), HANDLE, BUSY.
 */
elucid_status elucid_audit(elucid *explainer, elucid_ledger *ledger, elucid_ledger_step *steps, size_t capacity);

/*
 * Ends an explainer. Its memory and its model are the caller's again; nothing is freed. Calls that follow get ELUCID_E_HANDLE as long as
 * the memory is there and not written to.
 *
 * Errors: NULL, HANDLE, BUSY.
 */
elucid_status elucid_close(elucid *explainer);

/*
 * Looks for CUDA device number `ordinal`. In every build, on every machine; without a driver it says so.
 *
 * info   is written
 *
 * Errors: NULL, ALIGNMENT, NO_DRIVER, NO_DEVICE, DRIVER_BROKEN. Any thread.
 */
elucid_status elucid_cuda_probe(uint32_t ordinal, elucid_cuda_info *info);

/*
 * As elucid_open, on a CUDA device: the same memory is asked for, and every other call works on what it gives. The device holds the
 * weights and an arena of its own; the caller's memory is where frames are prepared and maps drawn. The first explanation on a device
 * compiles kernels and keeps them in a folder (ELUCID_CACHE, else ~/.cache/elucid): seconds on a PC, a minute on a Jetson. The driver
 * allocates, in this call and in the first two explanations; elucid_close frees. A pool is accepted and not used. Environment
 * variables are those of the program elucid (cuda/README.md).
 *
 * Nothing of elucid has run on a GPU yet: the kernels are compiled for all, and executed and checked on CPUs.
 *
 * Errors: those of elucid_open; NO_DRIVER, NO_DEVICE, DRIVER_BROKEN, NO_COMPILER, DEVICE_MEMORY, DEVICE. Later calls may say DEVICE_MEMORY
 * and DEVICE, too. The build without an operating system always says NO_DRIVER.
 */
elucid_status elucid_cuda_open(uint32_t ordinal, const void *model, size_t model_bytes, const elucid_options *options, void *memory,
                               size_t memory_bytes, elucid **explainer);

#ifdef __cplusplus
}
#endif

#endif
