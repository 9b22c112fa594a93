/*
 * Every way to call it wrong that a library can notice gets a status, and leaves the outputs as they were.
 *
 *     misuse MODEL.elucid
 *
 * Prints `N passed, N failed`.
 */
#include <elucid.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned passed, failed;

/* One call: its status, and what must not have been touched. */
#define EXPECT(wanted, call)                                                                                      \
    do {                                                                                                          \
        elucid_status got_ = (call);                                                                              \
        if (got_ == (wanted) && untouched()) {                                                                    \
            ++passed;                                                                                             \
        } else {                                                                                                  \
            ++failed;                                                                                             \
            printf("line %d: %s: %d \"%s\" instead of %d%s\n", __LINE__, #call, (int)got_, elucid_strerror(got_), \
                   (int)(wanted), untouched() ? "" : ", and an output was written to");                           \
        }                                                                                                         \
    } while (0)

enum { PAINT = 0x5A, SIDE = 40 };

/* Outputs: painted before each call. */
static struct {
    elucid_info info;
    elucid *explainer;
    elucid_result result;
    elucid_ledger ledger;
    elucid_ledger_step steps[200];
    elucid_cuda_info gpu;
    float logits[64], map[64 * 64 + 1];
    unsigned char picture[4 * SIDE * SIDE];
    char name[64];
} out;

static void paint(void) { memset(&out, PAINT, sizeof out); }

static int untouched(void) {
    const unsigned char *bytes = (const unsigned char *)&out;
    size_t i;
    for (i = 0; i < sizeof out; ++i)
        if (bytes[i] != PAINT) return 0;
    return 1;
}

static unsigned char rgb[3 * SIDE * SIDE];
static float tensor[3 * 128 * 128 + 1];

static elucid_frame a_frame(void) {
    elucid_frame frame;
    memset(&frame, 0, sizeof frame);
    frame.data = rgb;
    frame.bytes = sizeof rgb;
    frame.width = frame.height = SIDE;
    return frame;
}

static elucid_picture a_picture(void) {
    elucid_picture picture;
    memset(&picture, 0, sizeof picture);
    picture.data = out.picture;
    picture.bytes = sizeof out.picture;
    picture.width = picture.height = SIDE;
    picture.format = ELUCID_HEAT_RGBA8;
    return picture;
}

static void opening(const void *model, size_t bytes, void *memory, size_t room) {
    elucid_options options;
    unsigned char *damaged = malloc(bytes + 64), *work = malloc(room);
    size_t huge = (size_t)-1, i;
    elucid_info widest;
    memset(&options, 0, sizeof options);
    paint();
    EXPECT(ELUCID_E_NULL, elucid_measure(NULL, bytes, NULL, NULL, 0, &out.info));
    EXPECT(ELUCID_E_NULL, elucid_measure(model, bytes, NULL, NULL, 0, NULL));
    EXPECT(ELUCID_E_TOO_LARGE, elucid_measure(model, huge, NULL, NULL, 0, &out.info));
    EXPECT(ELUCID_E_TOO_LARGE, elucid_measure(model, huge / 2 + 2, NULL, NULL, 0, &out.info));
    EXPECT(ELUCID_E_ALIGNMENT, elucid_measure(model, bytes, NULL, NULL, 0, (elucid_info *)((char *)&out.info + 1)));
    EXPECT(ELUCID_E_ALIGNMENT, elucid_measure(model, bytes, (elucid_options *)((char *)&options + 1), NULL, 0, &out.info));
    EXPECT(ELUCID_E_TOO_SMALL, elucid_measure(model, bytes, NULL, work, 100, &out.info));
    EXPECT(ELUCID_E_TOO_LARGE, elucid_measure(model, bytes, NULL, work, huge, &out.info));
    EXPECT(ELUCID_E_OVERLAP, elucid_measure(model, bytes, NULL, &out, sizeof out, &out.info));
    EXPECT(ELUCID_E_TRUNCATED, elucid_measure(model, 0, NULL, NULL, 0, &out.info));
    EXPECT(ELUCID_E_TRUNCATED, elucid_measure(model, 7, NULL, NULL, 0, &out.info));
    EXPECT(ELUCID_E_TRUNCATED, elucid_open(model, 0, NULL, memory, room, &out.explainer));
    EXPECT(ELUCID_E_NOT_A_MODEL, elucid_measure("?", 1, NULL, NULL, 0, &out.info));
    EXPECT(ELUCID_E_TRUNCATED, elucid_measure(model, 20, NULL, NULL, 0, &out.info));
    EXPECT(ELUCID_E_TRUNCATED, elucid_measure(model, bytes - 1, NULL, NULL, 0, &out.info));

    memcpy(damaged, model, bytes);
    EXPECT(ELUCID_E_OVERLAP, elucid_measure(damaged, bytes, NULL, damaged + 64, bytes - 64, &out.info));
    EXPECT(ELUCID_E_OVERLAP, elucid_open(damaged, bytes, NULL, damaged + bytes - 1, 64, &out.explainer));
    damaged[bytes - 1] ^= 1;
    EXPECT(ELUCID_E_CHECKSUM, elucid_measure(damaged, bytes, NULL, NULL, 0, &out.info));
    damaged[8] ^= 1;
    EXPECT(ELUCID_E_VERSION, elucid_open(damaged, bytes, NULL, memory, room, &out.explainer));
    memcpy(damaged + 1, model, bytes);
    EXPECT(ELUCID_E_MISALIGNED, elucid_open(damaged + 1, bytes, NULL, memory, room, &out.explainer));
    for (i = 0; i < sizeof options / 4; ++i) {
        elucid_status status;
        memset(&options, 0, sizeof options);
        ((uint32_t *)&options)[i] = 7777;
        status = elucid_measure(model, bytes, &options, NULL, 0, &out.info);
        if (status == ELUCID_E_OPTIONS && untouched()) {
            ++passed;
        } else {
            ++failed;
            printf("option %u = 7777: %d\n", (unsigned)i, (int)status);
        }
        paint();
    }
    memset(&options, 0, sizeof options);
    options.width = options.height = 0xFFFFFFFF;
    EXPECT(ELUCID_E_TOO_LARGE, elucid_measure(model, bytes, &options, NULL, 0, &out.info));
    EXPECT(ELUCID_E_TOO_LARGE, elucid_open(model, bytes, &options, memory, room, &out.explainer));
    options.width = 32769, options.height = 32;
    EXPECT(ELUCID_E_TOO_LARGE, elucid_measure(model, bytes, &options, NULL, 0, &out.info));
    options.width = 32, options.height = 32769;
    EXPECT(ELUCID_E_TOO_LARGE, elucid_measure(model, bytes, &options, NULL, 0, &out.info));
    options.width = 0, options.height = 32;
    EXPECT(ELUCID_E_OPTIONS, elucid_measure(model, bytes, &options, NULL, 0, &out.info));
    options.width = 32768, options.height = 32;
    if (elucid_measure(model, bytes, &options, NULL, 0, &widest) == ELUCID_OK && widest.width == 32768) ++passed;
    else ++failed, printf("32768 x 32 can't be planned\n");
    options.width = options.height = 16000;
    {
        /* Large, but it can be planned; or beyond what can be addressed. */
        elucid_status status = elucid_measure(model, bytes, &options, NULL, 0, &out.info);
        if (status == ELUCID_OK || status == ELUCID_E_TOO_SMALL || status == ELUCID_E_SHAPE) ++passed;
        else ++failed, printf("16000 x 16000: %d\n", (int)status);
        paint();
    }

    EXPECT(ELUCID_E_NULL, elucid_open(NULL, bytes, NULL, memory, room, &out.explainer));
    EXPECT(ELUCID_E_NULL, elucid_open(model, bytes, NULL, NULL, room, &out.explainer));
    EXPECT(ELUCID_E_NULL, elucid_open(model, bytes, NULL, memory, room, NULL));
    EXPECT(ELUCID_E_TOO_LARGE, elucid_open(model, huge, NULL, memory, room, &out.explainer));
    EXPECT(ELUCID_E_TOO_LARGE, elucid_open(model, bytes, NULL, memory, huge, &out.explainer));
    EXPECT(ELUCID_E_TOO_SMALL, elucid_open(model, bytes, NULL, memory, 0, &out.explainer));
    EXPECT(ELUCID_E_TOO_SMALL, elucid_open(model, bytes, NULL, memory, 1000, &out.explainer));
    memset(&options, 0, sizeof options);
    options.audit = 1;
    options.threads = 2;
    EXPECT(ELUCID_E_TOO_SMALL, elucid_open(model, bytes, &options, memory, room - 128, &out.explainer));
    EXPECT(ELUCID_E_OVERLAP, elucid_open(model, bytes, NULL, &out, sizeof out, &out.explainer));
    EXPECT(ELUCID_E_OVERLAP, elucid_open(model, bytes, NULL, (void *)(uintptr_t)model, bytes, &out.explainer));
    EXPECT(ELUCID_E_ALIGNMENT, elucid_open(model, bytes, NULL, memory, room, (elucid **)((char *)&out.explainer + 1)));

    EXPECT(ELUCID_E_NULL, elucid_cuda_probe(0, NULL));
    EXPECT(ELUCID_E_NULL, elucid_cuda_open(0, NULL, bytes, NULL, memory, room, &out.explainer));
    EXPECT(ELUCID_E_NULL, elucid_cuda_open(0, model, bytes, NULL, memory, room, NULL));
    {
        elucid_status probed = elucid_cuda_probe(0, &out.gpu);
        paint();
        if (probed != ELUCID_OK) EXPECT(probed, elucid_cuda_open(0, model, bytes, NULL, memory, room, &out.explainer));
        EXPECT(probed == ELUCID_OK ? ELUCID_E_NO_DEVICE : probed, elucid_cuda_probe(0xFFFFFFFF, &out.gpu));
    }
    free(work);
    free(damaged);
}

static void frames(elucid *explainer) {
    elucid_frame frame = a_frame();
    unsigned char *inside = (unsigned char *)explainer;
    EXPECT(ELUCID_E_NULL, elucid_classify(explainer, NULL, &out.result, NULL, 0));
    EXPECT(ELUCID_E_NULL, elucid_classify(explainer, &frame, NULL, NULL, 0));
    EXPECT(ELUCID_E_ALIGNMENT, elucid_classify(explainer, &frame, (elucid_result *)(out.picture + 1), NULL, 0));
    EXPECT(ELUCID_E_OVERLAP, elucid_classify(explainer, &frame, (elucid_result *)(inside + 256), NULL, 0));
    EXPECT(ELUCID_E_TOO_SMALL, elucid_classify(explainer, &frame, &out.result, out.logits, 1));
    EXPECT(ELUCID_E_TOO_LARGE, elucid_classify(explainer, &frame, &out.result, out.logits, (size_t)-1 / 4));
    EXPECT(ELUCID_E_ALIGNMENT, elucid_classify(explainer, &frame, &out.result, (float *)(out.picture + 1), 64));
    EXPECT(ELUCID_E_OVERLAP, elucid_classify(explainer, &frame, &out.result, (float *)&out.result, 64));

#define FRAME(wanted, change)                                                          \
    frame = a_frame();                                                                 \
    change;                                                                            \
    EXPECT(wanted, elucid_classify(explainer, &frame, &out.result, NULL, 0));          \
    EXPECT(wanted, elucid_explain(explainer, &frame, ELUCID_PREDICTED, &out.result))
    FRAME(ELUCID_E_NULL, frame.data = NULL);
    FRAME(ELUCID_E_TOO_SMALL, frame.bytes -= 1);
    FRAME(ELUCID_E_TOO_SMALL, frame.bytes = 0);
    FRAME(ELUCID_E_TOO_LARGE, frame.bytes = (size_t)-1);
    FRAME(ELUCID_E_TOO_SMALL, frame.stride = 3 * SIDE + 1);
    FRAME(ELUCID_E_TOO_SMALL, frame.stride = (size_t)-1);
    FRAME(ELUCID_E_FRAME, frame.stride = 3 * SIDE - 1);
    FRAME(ELUCID_E_FRAME, frame.width = 0);
    FRAME(ELUCID_E_FRAME, frame.height = 0);
    FRAME(ELUCID_E_TOO_LARGE, frame.width = 0xFFFFFFFF);
    FRAME(ELUCID_E_TOO_LARGE, frame.height = 40000);
    FRAME(ELUCID_E_TOO_SMALL, frame.height = 32000);
    FRAME(ELUCID_E_FRAME, frame.format = 5);
    FRAME(ELUCID_E_FRAME, frame.format = ELUCID_HEAT_F32);
    FRAME(ELUCID_E_NULL, frame.format = ELUCID_NV12);
    FRAME(ELUCID_E_TOO_SMALL, frame.format = ELUCID_NV12; frame.chroma = rgb; frame.chroma_bytes = SIDE * SIDE / 2 - 1);
    FRAME(ELUCID_E_FRAME, frame.format = ELUCID_NV12; frame.chroma = rgb; frame.chroma_bytes = SIDE * SIDE; frame.matrix = 4);
    FRAME(ELUCID_E_OVERLAP, frame.data = inside; frame.bytes = 1 << 14);
    FRAME(ELUCID_E_ALIGNMENT, frame.format = ELUCID_RGB_F32; frame.data = (char *)tensor + 1; frame.bytes = sizeof tensor - 1);
    FRAME(ELUCID_E_ALIGNMENT, frame.format = ELUCID_RGB_F32; frame.data = tensor; frame.bytes = sizeof tensor; frame.stride = 12 * SIDE + 2);
    FRAME(ELUCID_E_FRAME, frame.format = ELUCID_TENSOR_F32; frame.data = tensor; frame.bytes = sizeof tensor; frame.width = 31);
    FRAME(ELUCID_E_ALIGNMENT, memcpy(rgb, &frame, sizeof frame); frame.format = ELUCID_TENSOR_F32; frame.data = (char *)tensor + 2;
          frame.bytes = 4);

    frame = a_frame();
    EXPECT(ELUCID_E_TARGET, elucid_explain(explainer, &frame, 64, &out.result));
    EXPECT(ELUCID_E_TARGET, elucid_explain(explainer, &frame, 0x7FFFFFFF, &out.result));
    EXPECT(ELUCID_E_TARGET, elucid_explain(explainer, &frame, ELUCID_RANK(64), &out.result));
    EXPECT(ELUCID_E_TARGET, elucid_explain(explainer, &frame, -0x7FFFFFFF - 1, &out.result));
    EXPECT(ELUCID_E_NULL, elucid_explain(explainer, &frame, 0, NULL));
    EXPECT(ELUCID_E_ALIGNMENT, elucid_explain(explainer, (elucid_frame *)((char *)&frame + 1), 0, &out.result));
}

static void pictures(elucid *explainer, elucid_info info) {
    elucid_frame frame = a_frame();
    elucid_picture picture = a_picture();
    unsigned char *inside = (unsigned char *)explainer;
#define PICTURE(wanted, change)                              \
    picture = a_picture();                                   \
    change;                                                  \
    EXPECT(wanted, elucid_heat(explainer, &frame, &picture)); \
    EXPECT(wanted, elucid_heat(explainer, NULL, &picture))
    PICTURE(ELUCID_E_NULL, picture.data = NULL);
    PICTURE(ELUCID_E_TOO_SMALL, picture.bytes -= 1);
    PICTURE(ELUCID_E_TOO_LARGE, picture.bytes = (size_t)-1);
    PICTURE(ELUCID_E_FRAME, picture.stride = 4 * SIDE - 1);
    PICTURE(ELUCID_E_TOO_SMALL, picture.stride = 4 * SIDE + 1);
    PICTURE(ELUCID_E_TOO_SMALL, picture.stride = (size_t)-1);
    PICTURE(ELUCID_E_FRAME, picture.width = 0);
    PICTURE(ELUCID_E_FRAME, picture.height = 0);
    PICTURE(ELUCID_E_TOO_LARGE, picture.width = 0xFFFFFFFF);
    PICTURE(ELUCID_E_FRAME, picture.format = ELUCID_RGB8);
    PICTURE(ELUCID_E_OPTIONS, picture.reserved = 1);
    PICTURE(ELUCID_E_ALIGNMENT, picture.format = ELUCID_HEAT_F32; picture.data = out.picture + 1; picture.bytes -= 1);
    PICTURE(ELUCID_E_ALIGNMENT, picture.format = ELUCID_HEAT_F32; picture.stride = 4 * SIDE + 2);
    PICTURE(ELUCID_E_OVERLAP, picture.data = inside + 64);
    picture = a_picture();
    EXPECT(ELUCID_E_NULL, elucid_heat(explainer, &frame, NULL));
    EXPECT(ELUCID_E_ALIGNMENT, elucid_heat(explainer, NULL, (elucid_picture *)((char *)&picture + 1)));
    frame.data = out.picture;
    frame.bytes = sizeof out.picture;
    EXPECT(ELUCID_E_OVERLAP, elucid_heat(explainer, &frame, &picture));
    frame = a_frame();
    frame.bytes = 5;
    EXPECT(ELUCID_E_TOO_SMALL, elucid_heat(explainer, &frame, &picture));
    frame.format = ELUCID_TENSOR_F32;
    frame.data = tensor;
    frame.bytes = sizeof tensor;
    EXPECT(ELUCID_E_FRAME, elucid_heat(explainer, &frame, &picture));

    EXPECT(ELUCID_E_NULL, elucid_audit(explainer, NULL, NULL, 0));
    EXPECT(ELUCID_E_TOO_SMALL, elucid_audit(explainer, &out.ledger, out.steps, 1));
    EXPECT(ELUCID_E_TOO_LARGE, elucid_audit(explainer, &out.ledger, out.steps, (size_t)-1));
    EXPECT(ELUCID_E_OVERLAP, elucid_audit(explainer, &out.ledger, (elucid_ledger_step *)&out.ledger, 200));
    EXPECT(ELUCID_E_ALIGNMENT, elucid_audit(explainer, (elucid_ledger *)(out.picture + 4 - (uintptr_t)out.picture % 4 + 1), NULL, 0));
    EXPECT(ELUCID_E_TARGET, elucid_class_name(explainer, info.classes, out.name, sizeof out.name));
    EXPECT(ELUCID_E_NULL, elucid_class_name(explainer, 0, NULL, 10));
    EXPECT(ELUCID_E_TOO_SMALL, elucid_class_name(explainer, 0, out.name, 0));
    EXPECT(ELUCID_E_OVERLAP, elucid_class_name(explainer, 0, (char *)inside, 64));
}

static elucid *reentered;
static elucid_status inner;

/* Calls the work, and in the midst of it elucid once more. */
static void reenter(void *context, elucid_work work, void *data) {
    elucid_frame frame = a_frame();
    elucid_result *result = context;
    inner = elucid_classify(reentered, &frame, result, NULL, 0);
    if (inner == ELUCID_E_BUSY) inner = elucid_close(reentered);
    work(data);
}

static elucid *raced;

/* Calls some times, or until the explainer is closed. Returns null if a call was answered as none should be. */
static void *caller(void *well) {
    elucid_frame frame = a_frame();
    elucid_result result;
    unsigned i;
    for (i = 0; i < 4; ++i) {
        elucid_status status = elucid_classify(raced, &frame, &result, NULL, 0);
        if (status == ELUCID_E_HANDLE) break;
        if (status != ELUCID_OK && status != ELUCID_E_BUSY) return NULL;
    }
    return well;
}

/* Two threads call, a third closes in the midst of it and writes to the memory at once: it was let go of. */
static void race(const void *model, size_t bytes, void *memory, size_t room, const elucid_options *options) {
    pthread_t threads[2];
    elucid_status status;
    unsigned i;
    if (elucid_open(model, bytes, options, memory, room, &raced)) exit(3);
    for (i = 0; i < 2; ++i)
        if (pthread_create(&threads[i], NULL, caller, threads)) exit(3);
    do status = elucid_close(raced);
    while (status == ELUCID_E_BUSY);
    memset(memory, PAINT, room);
    EXPECT(ELUCID_OK, status);
    for (i = 0; i < 2; ++i) {
        void *well = NULL;
        if (pthread_join(threads[i], &well)) exit(3);
        EXPECT(1, well != NULL);
    }
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    size_t bytes, most = 1 << 24, i, words[4];
    void *model, *memory, *other;
    elucid_options options;
    elucid_info info;
    elucid *explainer, *moved;
    elucid_frame frame;
    elucid_picture picture = a_picture();
    elucid_pool pool;
    elucid_result result;

    if (!file) return 2;
    model = malloc(most);
    bytes = fread(model, 1, most, file);
    fclose(file);
    memset(&options, 0, sizeof options);
    options.audit = 1;
    options.threads = 2;
    if (elucid_measure(model, bytes, &options, NULL, 0, &info)) return 3;
    memory = malloc(info.memory_bytes);
    opening(model, bytes, memory, info.memory_bytes);

    /* Nothing is open. */
    paint();
    frame = a_frame();
    EXPECT(ELUCID_E_NULL, elucid_close(NULL));
    EXPECT(ELUCID_E_NULL, elucid_classify(NULL, &frame, &out.result, NULL, 0));
    EXPECT(ELUCID_E_NULL, elucid_explain(NULL, &frame, 0, &out.result));
    EXPECT(ELUCID_E_NULL, elucid_heat(NULL, NULL, &picture));
    EXPECT(ELUCID_E_NULL, elucid_audit(NULL, &out.ledger, NULL, 0));
    EXPECT(ELUCID_E_NULL, elucid_class_name(NULL, 0, out.name, 64));
    EXPECT(ELUCID_E_NULL, elucid_set_pool(NULL, NULL));
    memset(memory, PAINT, info.memory_bytes);
    EXPECT(ELUCID_E_HANDLE, elucid_close((elucid *)(((uintptr_t)memory + 63) / 64 * 64)));
    EXPECT(ELUCID_E_HANDLE, elucid_close((elucid *)((char *)memory + 1)));

    /* Exactly as much as was measured, and no byte less, at any alignment. */
    other = malloc(info.memory_bytes + 64);
    for (i = 0; i < 64; i += 7) {
        char *at = (char *)other + i;
        EXPECT(ELUCID_E_TOO_SMALL, elucid_open(model, bytes, &options, at, info.memory_bytes - 1, &out.explainer));
        EXPECT(ELUCID_OK, elucid_open(model, bytes, &options, at, info.memory_bytes, &explainer));
        EXPECT(ELUCID_OK, elucid_close(explainer));
    }
    if (elucid_open(model, bytes, &options, memory, info.memory_bytes, &explainer)) return 3;
    /* Too early. */
    EXPECT(ELUCID_E_ORDER, elucid_explain(explainer, NULL, 0, &out.result));
    EXPECT(ELUCID_E_ORDER, elucid_heat(explainer, NULL, &picture));
    EXPECT(ELUCID_E_ORDER, elucid_audit(explainer, &out.ledger, NULL, 0));
    frames(explainer);
    frame = a_frame();
    if (elucid_classify(explainer, &frame, &result, NULL, 0)) return 3;
    EXPECT(ELUCID_E_ORDER, elucid_heat(explainer, NULL, &picture));
    EXPECT(ELUCID_E_TARGET, elucid_explain(explainer, NULL, 9999, &out.result));
    if (elucid_explain(explainer, NULL, ELUCID_PREDICTED, &result)) return 3;
    /* The way back was used up. */
    EXPECT(ELUCID_E_ORDER, elucid_explain(explainer, NULL, 0, &out.result));
    pictures(explainer, info);
    /* What isn't finite is refused, and forgotten. */
    frame.format = ELUCID_TENSOR_F32;
    frame.data = tensor;
    frame.bytes = sizeof tensor - 4;
    frame.width = info.width;
    frame.height = info.height;
    memset(&tensor[5], 0xFF, sizeof *tensor);
    EXPECT(ELUCID_E_NOT_FINITE, elucid_explain(explainer, &frame, 0, &out.result));
    frame.format = ELUCID_RGB_F32;
    EXPECT(ELUCID_E_NOT_FINITE, elucid_explain(explainer, &frame, 0, &out.result));
    EXPECT(ELUCID_E_ORDER, elucid_heat(explainer, NULL, &picture));
    EXPECT(ELUCID_E_ORDER, elucid_explain(explainer, NULL, 0, &out.result));

    /* Pools. */
    memset(&pool, 0, sizeof pool);
    pool.threads = 2;
    EXPECT(ELUCID_E_NULL, elucid_set_pool(explainer, &pool));
    pool.broadcast = reenter;
    pool.context = &out.result;
    pool.threads = 0;
    EXPECT(ELUCID_E_OPTIONS, elucid_set_pool(explainer, &pool));
    pool.threads = 3;
    EXPECT(ELUCID_E_OPTIONS, elucid_set_pool(explainer, &pool));
    pool.threads = 2;
    pool.reserved = 1;
    EXPECT(ELUCID_E_OPTIONS, elucid_set_pool(explainer, &pool));
    pool.reserved = 0;
    EXPECT(ELUCID_OK, elucid_set_pool(explainer, &pool));
    reentered = explainer;
    frame = a_frame();
    if (elucid_explain(explainer, &frame, 0, &result)) return 3;
    EXPECT(ELUCID_E_BUSY, inner);
    EXPECT(ELUCID_OK, elucid_set_pool(explainer, NULL));

    /* Moved, then closed. */
    moved = (elucid *)(((uintptr_t)other + 63) / 64 * 64);
    memcpy(moved, explainer, info.memory_bytes - ((uintptr_t)explainer - (uintptr_t)memory) - 64);
    EXPECT(ELUCID_E_HANDLE, elucid_explain(moved, &frame, 0, &out.result));
    EXPECT(ELUCID_OK, elucid_close(explainer));
    EXPECT(ELUCID_E_HANDLE, elucid_close(explainer));
    EXPECT(ELUCID_E_HANDLE, elucid_classify(explainer, &frame, &out.result, NULL, 0));
    EXPECT(ELUCID_E_HANDLE, elucid_explain(explainer, &frame, 0, &out.result));
    EXPECT(ELUCID_E_HANDLE, elucid_heat(explainer, NULL, &picture));
    EXPECT(ELUCID_E_HANDLE, elucid_audit(explainer, &out.ledger, NULL, 0));
    EXPECT(ELUCID_E_HANDLE, elucid_class_name(explainer, 0, out.name, 64));
    EXPECT(ELUCID_E_HANDLE, elucid_set_pool(explainer, NULL));
    /* The memory is the caller's again: no call writes to where it said that it was open. */
    memcpy(words, explainer, sizeof words);
    EXPECT(ELUCID_E_HANDLE, elucid_explain(explainer, &frame, 0, &out.result));
    EXPECT(ELUCID_E_HANDLE, elucid_set_pool(explainer, &pool));
    EXPECT(ELUCID_E_HANDLE, elucid_close(explainer));
    EXPECT(0, memcmp(words, explainer, sizeof words));
    for (i = 0; i < 2; ++i) race(model, bytes, memory, info.memory_bytes, &options);

    /* Without an audit there is no ledger. */
    options.audit = 0;
    if (elucid_open(model, bytes, &options, memory, info.memory_bytes, &explainer)) return 3;
    if (elucid_explain(explainer, &frame, 0, &result)) return 3;
    EXPECT(ELUCID_E_OPTIONS, elucid_audit(explainer, &out.ledger, NULL, 0));
    EXPECT(ELUCID_OK, elucid_close(explainer));

    free(other);
    free(memory);
    free(model);
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
