/*
 * The same frame on the CPU and on a CUDA device.
 *
 *     cuda MODEL.elucid WIDTH HEIGHT FRAME.rgb
 *
 * FRAME.rgb holds WIDTH x HEIGHT pixels of three bytes. Prints what both said, and fails where they differ.
 */
#include <elucid.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(elucid_status status, const char *what) {
    if (status != ELUCID_OK) {
        fprintf(stderr, "%s: %s\n", what, elucid_strerror(status));
        exit(1);
    }
}

static void *allocate(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) exit(1);
    return memory;
}

static void *load(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    void *data;
    long end;
    if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0 || fseek(file, 0, SEEK_SET)) exit(1);
    *bytes = (size_t)end;
    data = allocate(*bytes);
    if (fread(data, 1, *bytes, file) != *bytes) exit(1);
    fclose(file);
    return data;
}

/* Explains three times: plainly, as a graph that is made, and as one that is replayed. */
static void explain(elucid *explainer, const elucid_frame *frame, elucid_result *result, elucid_ledger *ledger, float *map,
                    const elucid_info *info) {
    elucid_picture picture;
    int i;
    memset(&picture, 0, sizeof picture);
    picture.format = ELUCID_HEAT_F32;
    picture.width = info->width;
    picture.height = info->height;
    picture.data = map;
    picture.bytes = (size_t)info->width * info->height * sizeof *map;
    for (i = 0; i < 3; ++i) {
        check(elucid_classify(explainer, frame, result, NULL, 0), "classify");
        check(elucid_explain(explainer, NULL, ELUCID_PREDICTED, result), "explain");
        check(elucid_heat(explainer, NULL, &picture), "heat");
        if (ledger) check(elucid_audit(explainer, ledger, NULL, 0), "audit");
    }
}

int main(int argc, char **argv) {
    size_t model_bytes, frame_bytes, pixels, i;
    elucid_options options;
    elucid_info info;
    elucid_frame frame;
    elucid_cuda_info gpu;
    elucid_result here, there;
    elucid_ledger ledger;
    elucid *cpu, *cuda;
    float *want, *got, most = 0, off = 0;
    void *model, *rgb, *memory, *device;
    int audit;

    if (argc != 5) {
        fprintf(stderr, "usage: %s MODEL.elucid WIDTH HEIGHT FRAME.rgb\n", argv[0]);
        return 2;
    }
    model = load(argv[1], &model_bytes);
    rgb = load(argv[4], &frame_bytes);
    memset(&frame, 0, sizeof frame);
    frame.format = ELUCID_RGB8;
    frame.width = (uint32_t)atoi(argv[2]);
    frame.height = (uint32_t)atoi(argv[3]);
    frame.data = rgb;
    frame.bytes = frame_bytes;
    frame.stride = 3 * (size_t)frame.width;
    check(elucid_cuda_probe(0, &gpu), "probe");
    if (!gpu.kernels) return 3;
    for (audit = 0; audit < 2; ++audit) {
        memset(&options, 0, sizeof options);
        options.audit = (uint32_t)audit;
        check(elucid_measure(model, model_bytes, &options, NULL, 0, &info), "measure");
        pixels = (size_t)info.width * info.height;
        memory = allocate(info.memory_bytes);
        device = allocate(info.memory_bytes);
        want = allocate(pixels * sizeof *want);
        got = allocate(pixels * sizeof *got);
        check(elucid_open(model, model_bytes, &options, memory, info.memory_bytes, &cpu), "open");
        check(elucid_cuda_open(0, model, model_bytes, &options, device, info.memory_bytes, &cuda), "open on device 0");
        explain(cpu, &frame, &here, NULL, want, &info);
        explain(cuda, &frame, &there, audit ? &ledger : NULL, got, &info);
        check(elucid_set_pool(cuda, NULL), "pool");
        if (elucid_heat(cuda, NULL, NULL) != ELUCID_E_NULL) return 4;
        for (i = 0; i < pixels; ++i) {
            if (fabsf(want[i]) > most) most = fabsf(want[i]);
            if (fabsf(want[i] - got[i]) > off) off = fabsf(want[i] - got[i]);
        }
        if (here.target != there.target || off > 1e-4f * most) {
            fprintf(stderr, "class %u and %u, maps differ by %g of %g\n", (unsigned)here.target, (unsigned)there.target, off, most);
            return 5;
        }
        if (audit && !ledger.balances) return 6;
        check(elucid_close(cuda), "close");
        if (elucid_close(cuda) != ELUCID_E_HANDLE) return 7;
        check(elucid_close(cpu), "close");
        free(got);
        free(want);
        free(device);
        free(memory);
    }
    printf("the same on device %s (sm_%u%u): class %u, maps differ by %.1e\n", gpu.name, (unsigned)gpu.capability_major,
           (unsigned)gpu.capability_minor, (unsigned)there.target, off / most);
    free(rgb);
    free(model);
    return 0;
}
