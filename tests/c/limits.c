/*
 * How much a call takes: no allocation, and how much stack.
 *
 *     limits MODEL.elucid
 *
 * Every format of frames and of pictures, in every memory mode, by one thread and by two. Linked statically with `--wrap` for malloc,
 * calloc, realloc, aligned_alloc, posix_memalign and free, which are counted here. Prints `calls N`, how many were made;
 * `allocations N`, those of all calls from elucid_measure with working memory to elucid_close; `measured N`, those of elucid_measure
 * without; `stack N`, the most bytes that any call took of its thread's stack, and `worker N`, those of the pool's second thread.
 */
#define _POSIX_C_SOURCE 200809L
#include <elucid.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STACK = 1 << 18, PAINT = 0xA5, WIDTH = 71, HEIGHT = 53, GAP = 20 };

static unsigned long calls;
#define COUNTED(result, name, parameters, arguments)    \
    result __real_##name parameters;                    \
    result __wrap_##name parameters;                    \
    result __wrap_##name parameters {                   \
        __sync_fetch_and_add(&calls, 1);                \
        return __real_##name arguments;                 \
    }
COUNTED(void *, malloc, (size_t bytes), (bytes))
COUNTED(void *, calloc, (size_t count, size_t bytes), (count, bytes))
COUNTED(void *, realloc, (void *memory, size_t bytes), (memory, bytes))
COUNTED(void *, aligned_alloc, (size_t align, size_t bytes), (align, bytes))
COUNTED(int, posix_memalign, (void **memory, size_t align, size_t bytes), (memory, align, bytes))
void __real_free(void *memory);
void __wrap_free(void *memory);
void __wrap_free(void *memory) {
    __sync_fetch_and_add(&calls, 1);
    __real_free(memory);
}

/* What the calls are made with. */
static struct {
    const void *model;
    size_t model_bytes, memory_bytes;
    void *memory;
    elucid_info info;
    elucid_options options;
    elucid *explainer;
    const elucid_pool *pool;
    const elucid_frame *frame, *under;
    elucid_picture picture;
    elucid_result result;
    elucid_ledger ledger;
    char name[64];
    elucid_status status;
} it;

static void *nothing(void *unused) { return unused; }
static void *measure(void *unused) {
    it.status = elucid_measure(it.model, it.model_bytes, &it.options, it.memory, it.memory_bytes, &it.info);
    return unused;
}
static void *open_it(void *unused) {
    it.status = elucid_open(it.model, it.model_bytes, &it.options, it.memory, it.info.memory_bytes, &it.explainer);
    return unused;
}
static void *set_pool(void *unused) {
    it.status = elucid_set_pool(it.explainer, it.pool);
    return unused;
}
static void *classify(void *unused) {
    it.status = elucid_classify(it.explainer, it.frame, &it.result, NULL, 0);
    return unused;
}
static void *explain(void *unused) {
    it.status = elucid_explain(it.explainer, it.frame, 0, &it.result);
    return unused;
}
static void *heat(void *unused) {
    it.status = elucid_heat(it.explainer, it.under, &it.picture);
    return unused;
}
static void *audit(void *unused) {
    it.status = elucid_audit(it.explainer, &it.ledger, NULL, 0);
    return unused;
}
static void *name(void *unused) {
    it.status = elucid_class_name(it.explainer, 0, it.name, sizeof it.name);
    return unused;
}
static void *close_it(void *unused) {
    it.status = elucid_close(it.explainer);
    return unused;
}

static const struct {
    const char *name;
    void *(*call)(void *);
} steps[] = {{"measure", measure}, {"open", open_it}, {"set_pool", set_pool}, {"classify", classify}, {"explain", explain},
             {"heat", heat},       {"audit", audit},  {"class_name", name},   {"close", close_it}};
enum { MEASURE, OPEN, SET_POOL, CLASSIFY, EXPLAIN, HEAT, AUDIT, NAME, CLOSE, STEPS };

static unsigned char stack[STACK] __attribute__((aligned(64))), second[STACK] __attribute__((aligned(64)));

/* Starts a thread on a painted stack. */
static pthread_t start(void *(*f)(void *), unsigned char *on) {
    pthread_attr_t attributes;
    pthread_t thread;
    memset(on, PAINT, STACK);
    if (pthread_attr_init(&attributes) || pthread_attr_setstack(&attributes, on, STACK) ||
        pthread_create(&thread, &attributes, f, NULL)) {
        fprintf(stderr, "no thread\n");
        exit(2);
    }
    return thread;
}

/* Waits for it. Returns the bytes of its stack that lost their paint. */
static size_t finish(pthread_t thread, const unsigned char *on) {
    size_t clean = 0;
    if (pthread_join(thread, NULL)) exit(2);
    while (clean < STACK && on[clean] == PAINT) ++clean;
    return STACK - clean;
}

static size_t used(void *(*f)(void *)) { return finish(start(f, stack), stack); }

/* The pool's second thread. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    elucid_work work;
    void *data;
    int stop;
} worker = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, NULL, 0};

static void *serve(void *unused) {
    pthread_mutex_lock(&worker.lock);
    for (;;) {
        while (!worker.work && !worker.stop) pthread_cond_wait(&worker.changed, &worker.lock);
        if (!worker.work) break;
        pthread_mutex_unlock(&worker.lock);
        worker.work(worker.data);
        pthread_mutex_lock(&worker.lock);
        worker.work = NULL;
        pthread_cond_broadcast(&worker.changed);
    }
    pthread_mutex_unlock(&worker.lock);
    return unused;
}

static void broadcast(void *context, elucid_work work, void *data) {
    (void)context;
    pthread_mutex_lock(&worker.lock);
    worker.work = work;
    worker.data = data;
    pthread_cond_broadcast(&worker.changed);
    pthread_mutex_unlock(&worker.lock);
    work(data);
    pthread_mutex_lock(&worker.lock);
    while (worker.work) pthread_cond_wait(&worker.changed, &worker.lock);
    pthread_mutex_unlock(&worker.lock);
}

static size_t empty, most[STEPS];
static unsigned long made, total, threads;

/* One call, counted. */
static void step(unsigned which) {
    unsigned long before = calls;
    size_t bytes = used(steps[which].call);
    if (it.status) {
        fprintf(stderr, "%s: %s\n", steps[which].name, elucid_strerror(it.status));
        exit(3);
    }
    total += calls - before - threads;
    bytes = bytes > empty ? bytes - empty : 0;
    if (bytes > most[which]) most[which] = bytes;
    ++made;
}

static float floats[3 * HEIGHT * WIDTH];
static unsigned char pixels[HEIGHT * (3 * WIDTH + GAP)], chroma[(HEIGHT + 1) / 2 * (WIDTH + 1 + GAP)], picture[4 * WIDTH * HEIGHT + 4];

/* A frame of a format, with gaps between its rows where it may have some. */
static elucid_frame a_frame(uint32_t format, const float *tensor) {
    elucid_frame frame;
    memset(&frame, 0, sizeof frame);
    frame.width = WIDTH;
    frame.height = HEIGHT;
    frame.format = format;
    frame.matrix = ELUCID_BT709;
    if (format == ELUCID_TENSOR_F32) {
        frame.width = it.info.width;
        frame.height = it.info.height;
        frame.data = tensor;
        frame.bytes = (size_t)12 * frame.width * frame.height;
    } else if (format == ELUCID_RGB_F32) {
        frame.data = floats;
        frame.bytes = sizeof floats;
    } else {
        frame.data = pixels;
        frame.bytes = sizeof pixels;
        frame.stride = format == ELUCID_NV12 ? WIDTH + GAP : 3 * WIDTH + GAP;
        frame.chroma = chroma;
        frame.chroma_bytes = sizeof chroma;
        frame.chroma_stride = WIDTH + 1 + GAP;
    }
    return frame;
}

/* All that can be asked of an explainer, for every format. */
static void grid(const float *tensor) {
    static const uint32_t pictures[] = {ELUCID_HEAT_F32, ELUCID_HEAT_U8, ELUCID_HEAT_RGBA8};
    uint32_t format;
    unsigned i;
    for (format = ELUCID_RGB8; format <= ELUCID_TENSOR_F32; ++format) {
        elucid_frame frame = a_frame(format, tensor);
        it.frame = &frame;
        step(CLASSIFY);
        it.frame = NULL;
        step(EXPLAIN);
        it.frame = &frame;
        step(EXPLAIN);
        for (i = 0; i < sizeof pictures / sizeof *pictures; ++i) {
            it.picture.format = pictures[i];
            it.under = NULL;
            step(HEAT);
            it.under = &frame;
            if (format != ELUCID_TENSOR_F32) step(HEAT);
        }
        step(AUDIT);
        step(NAME);
    }
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    elucid_pool pool;
    pthread_t helper;
    size_t i, largest = 0, helped;
    unsigned long before;
    uint32_t memory, half, count;
    void *model = NULL;
    float *tensor;
    if (!file || posix_memalign(&model, 64, 1 << 24)) return 2;
    it.model = model;
    it.model_bytes = fread(model, 1, 1 << 24, file);
    fclose(file);
    /* As much as any of the explainers needs. */
    it.options.audit = 1;
    it.options.threads = 2;
    it.options.memory = ELUCID_KEEP;
    before = calls;
    if (elucid_measure(it.model, it.model_bytes, &it.options, NULL, 0, &it.info)) return 3;
    printf("measured %lu\n", calls - before);
    it.memory_bytes = it.info.memory_bytes;
    it.memory = malloc(it.memory_bytes);
    tensor = malloc((size_t)12 * it.info.width * it.info.height);
    if (!it.memory || !tensor) return 2;
    for (i = 0; i < (size_t)3 * it.info.width * it.info.height; ++i) tensor[i] = (float)(i * 7919 % 1000) / 500 - 1;
    for (i = 0; i < sizeof floats / sizeof *floats; ++i) floats[i] = (float)(i * 7919 % 1000) / 1000;
    for (i = 0; i < sizeof pixels; ++i) pixels[i] = (unsigned char)(i * 7919 >> 5);
    for (i = 0; i < sizeof chroma; ++i) chroma[i] = (unsigned char)(i * 7919 >> 6);
    /* Floats lie at a multiple of 4. */
    it.picture.data = picture + (4 - (uintptr_t)picture % 4) % 4;
    it.picture.bytes = sizeof picture - 4;
    it.picture.width = WIDTH;
    it.picture.height = HEIGHT;
    memset(&pool, 0, sizeof pool);
    pool.broadcast = broadcast;
    pool.threads = 2;

    /* What starting a thread takes is not the library's. */
    empty = used(nothing);
    before = calls;
    used(nothing);
    threads = calls - before;
    helper = start(serve, second);
    for (memory = ELUCID_BLOCK; memory <= ELUCID_STAGE; ++memory)
        for (half = 0; half <= 1; ++half)
            for (count = 1; count <= 2; ++count) {
                it.options.memory = memory;
                it.options.half = half;
                it.options.threads = count;
                it.options.preset = (memory + half) % 2 ? ELUCID_PAPER : ELUCID_EXACT;
                it.options.split = (memory + count) % 4;
                step(MEASURE);
                step(OPEN);
                it.pool = count == 2 ? &pool : NULL;
                step(SET_POOL);
                grid(tensor);
                step(CLOSE);
            }
    pthread_mutex_lock(&worker.lock);
    worker.stop = 1;
    pthread_cond_broadcast(&worker.changed);
    pthread_mutex_unlock(&worker.lock);
    helped = finish(helper, second);
    for (i = 0; i < STEPS; ++i) {
        printf("  %-10s %6lu bytes of stack at most\n", steps[i].name, (unsigned long)most[i]);
        if (most[i] > largest) largest = most[i];
    }
    printf("calls %lu\nallocations %lu\nstack %lu\nworker %lu\n", made, total, (unsigned long)largest,
           (unsigned long)(helped > empty ? helped - empty : 0));
    free(tensor);
    free(it.memory);
    free(model);
    return 0;
}
