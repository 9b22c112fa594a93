/*
 * The board of the proof: brings model and image to elucid_proof and says how much stack it took.
 *
 *     proof MODEL IMAGE HEIGHT WIDTH MAP     files of bytes, f32 [height, width, 3] and f32 [height, width]
 *
 * Prints `class N` and `stack BYTES`, and with defmt `log HEX`. The call runs on a stack of its own that was painted
 * before; what an empty call on the same stack leaves is taken off.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STACK = 1 << 20, MODEL = 1 << 22, SIDE = 64, PAINT = 0xA5 };

int32_t elucid_proof(const uint8_t *model, size_t bytes, const float *image, uint32_t height, uint32_t width,
                     float *map);

static _Alignas(64) uint8_t model[MODEL];
static _Alignas(64) uint8_t stack[STACK];
static float image[SIDE * SIDE * 3], map[SIDE * SIDE];
static size_t model_bytes;
static uint32_t height, width;
static int32_t class;

_Noreturn void board_panic(void) {
    fprintf(stderr, "panic in elucid\n");
    exit(101);
}

static uint8_t log_bytes[4096];
static size_t log_len;

void board_write(const uint8_t *bytes, size_t len) {
    if (len > sizeof log_bytes - log_len) len = sizeof log_bytes - log_len;
    memcpy(log_bytes + log_len, bytes, len);
    log_len += len;
}

static void *nothing(void *unused) { return unused; }

static void *call(void *unused) {
    class = elucid_proof(model, model_bytes, image, height, width, map);
    return unused;
}

/* Bytes of the painted stack that lost their paint while `f` ran on it. */
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

static size_t load(const char *path, void *to, size_t most) {
    FILE *file = fopen(path, "rb");
    size_t bytes = file ? fread(to, 1, most, file) : 0;
    if (!file || ferror(file) || !feof(file)) {
        fprintf(stderr, "%s: can't be read, or is larger than %zu bytes\n", path, most);
        exit(2);
    }
    fclose(file);
    return bytes;
}

int main(int argc, char **argv) {
    size_t empty, full, i;
    FILE *out;
    if (argc != 6) return 2;
    height = (uint32_t)strtoul(argv[3], NULL, 10);
    width = (uint32_t)strtoul(argv[4], NULL, 10);
    if (height > SIDE || width > SIDE) return 2;
    model_bytes = load(argv[1], model, MODEL);
    if (load(argv[2], image, sizeof image) != sizeof(float) * 3 * height * width) return 2;

    empty = used(nothing);
    full = used(call);
    printf("class %d\nstack %zu\n", (int)class, full - empty);
    if (log_len) printf("log ");
    for (i = 0; i < log_len; ++i) printf("%02x", log_bytes[i]);
    if (log_len) printf("\n");

    out = fopen(argv[5], "wb");
    if (!out || fwrite(map, sizeof(float), (size_t)height * width, out) != (size_t)height * width || fclose(out)) {
        fprintf(stderr, "%s: can't be written\n", argv[5]);
        return 2;
    }
    return 0;
}
