/*
 * How much a call takes: no allocation, and how much stack.
 *
 *     limits MODEL.elucid
 *
 * Linked statically with `--wrap` for malloc, calloc, realloc, aligned_alloc, posix_memalign and free, which are counted here. Prints
 * `allocations N` for all calls from elucid_open to elucid_close, `measured N` for elucid_measure without working memory, and
 * `stack N`, the most that any call left of a painted stack of its own.
 */
#define _POSIX_C_SOURCE 200809L
#include <elucid.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STACK = 1 << 20, PAINT = 0xA5, WIDTH = 71, HEIGHT = 53 };

static unsigned long calls;
#define COUNTED(result, name, parameters, arguments)    \
    result __real_##name parameters;                    \
    result __wrap_##name parameters;                    \
    result __wrap_##name parameters {                   \
        ++calls;                                        \
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
    ++calls;
    __real_free(memory);
}

static struct {
    const void *model;
    size_t model_bytes, memory_bytes;
    void *memory;
    elucid_info info;
    elucid_options options;
    elucid *explainer;
    unsigned char rgb[WIDTH * HEIGHT * 3], rgba[WIDTH * HEIGHT * 4];
    elucid_frame frame;
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
    it.status = elucid_open(it.model, it.model_bytes, &it.options, it.memory, it.memory_bytes, &it.explainer);
    return unused;
}
static void *pool(void *unused) {
    it.status = elucid_set_pool(it.explainer, NULL);
    return unused;
}
static void *classify(void *unused) {
    it.status = elucid_classify(it.explainer, &it.frame, &it.result, NULL, 0);
    return unused;
}
static void *explain(void *unused) {
    it.status = elucid_explain(it.explainer, &it.frame, 0, &it.result);
    return unused;
}
static void *heat(void *unused) {
    it.status = elucid_heat(it.explainer, &it.frame, &it.picture);
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

static unsigned char stack[STACK] __attribute__((aligned(64)));

/* Bytes of the painted stack that lost their paint while `f` ran on it; the allocations of `f` alone are counted. */
static size_t used(void *(*f)(void *)) {
    pthread_attr_t attributes;
    pthread_t thread;
    size_t clean = 0;
    memset(stack, PAINT, STACK);
    if (pthread_attr_init(&attributes) || pthread_attr_setstack(&attributes, stack, STACK) ||
        pthread_create(&thread, &attributes, f, NULL) || pthread_join(thread, NULL)) {
        fprintf(stderr, "no thread\n");
        exit(2);
    }
    while (clean < STACK && stack[clean] == PAINT) ++clean;
    return STACK - clean;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void *(*call)(void *);
    } steps[] = {{"measure", measure}, {"open", open_it}, {"set_pool", pool}, {"classify", classify}, {"explain", explain},
                 {"heat", heat},       {"audit", audit},  {"class_name", name}, {"close", close_it}};
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    size_t i, empty, most = 0;
    unsigned long before, total = 0, threads;
    void *model = NULL;
    if (!file || posix_memalign(&model, 64, 1 << 24)) return 2;
    it.model = model;
    it.model_bytes = fread(model, 1, 1 << 24, file);
    fclose(file);
    it.options.audit = 1;
    before = calls;
    if (elucid_measure(it.model, it.model_bytes, &it.options, NULL, 0, &it.info)) return 3;
    printf("measured %lu\n", calls - before);
    it.memory_bytes = it.info.memory_bytes;
    it.memory = malloc(it.memory_bytes);
    for (i = 0; i < sizeof it.rgb; ++i) it.rgb[i] = (unsigned char)(i * 7919 >> 5);
    it.frame.data = it.rgb;
    it.frame.bytes = sizeof it.rgb;
    it.frame.width = it.picture.width = WIDTH;
    it.frame.height = it.picture.height = HEIGHT;
    it.picture.data = it.rgba;
    it.picture.bytes = sizeof it.rgba;
    it.picture.format = ELUCID_HEAT_RGBA8;
    /* What starting a thread takes is not the library's. */
    empty = used(nothing);
    before = calls;
    used(nothing);
    threads = calls - before;
    for (i = 0; i < sizeof steps / sizeof *steps; ++i) {
        size_t bytes;
        before = calls;
        bytes = used(steps[i].call);
        bytes = bytes > empty ? bytes - empty : 0;
        if (it.status) {
            fprintf(stderr, "%s: %s\n", steps[i].name, elucid_strerror(it.status));
            return 3;
        }
        printf("  %-10s %6lu bytes of stack, %lu allocations\n", steps[i].name, (unsigned long)bytes, calls - before - threads);
        total += calls - before - threads;
        if (bytes > most) most = bytes;
    }
    printf("allocations %lu\nstack %lu\n", total, (unsigned long)most);
    return 0;
}
