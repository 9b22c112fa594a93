/*
 * The whole C API in C99: explains one raw picture.
 *
 *     example MODEL.elucid WIDTH HEIGHT FRAME.rgb MAP.f32 OVERLAY.rgba
 *
 * FRAME.rgb holds WIDTH x HEIGHT pixels of three bytes. MAP.f32 gets the map at the network's own size, OVERLAY.rgba the frame with the
 * heat over it. Prints what the network said and what became of its relevance.
 */
#include <elucid.h>

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
    if (!memory) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    return memory;
}

static void *load(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    void *data;
    long end;
    if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0 || fseek(file, 0, SEEK_SET)) {
        fprintf(stderr, "%s: can't be read\n", path);
        exit(1);
    }
    *bytes = (size_t)end;
    data = allocate(*bytes);
    if (fread(data, 1, *bytes, file) != *bytes) {
        fprintf(stderr, "%s: can't be read\n", path);
        exit(1);
    }
    fclose(file);
    return data;
}

static void save(const char *path, const void *data, size_t bytes) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file)) {
        fprintf(stderr, "%s: can't be written\n", path);
        exit(1);
    }
}

int main(int argc, char **argv) {
    size_t model_bytes, frame_bytes;
    void *model, *memory, *rgb, *rgba;
    float *map, *logits;
    elucid_options options;
    elucid_info info;
    elucid *explainer;
    elucid_frame frame;
    elucid_picture picture;
    elucid_result result, again;
    elucid_ledger ledger;
    elucid_ledger_step *steps;
    elucid_cuda_info gpu;
    elucid_status status;
    char name[256];
    uint32_t i;

    if (argc != 7) {
        fprintf(stderr, "usage: %s MODEL.elucid WIDTH HEIGHT FRAME.rgb MAP.f32 OVERLAY.rgba\n", argv[0]);
        return 2;
    }
    if (elucid_version() != ELUCID_VERSION) printf("the library is of another version than the header\n");
    model = load(argv[1], &model_bytes);

    memset(&options, 0, sizeof options);
    options.audit = 1;
    check(elucid_measure(model, model_bytes, &options, NULL, 0, &info), argv[1]);
    memory = allocate(info.memory_bytes);
    check(elucid_open(model, model_bytes, &options, memory, info.memory_bytes, &explainer), "open");
    printf("memory %lu\ninput %u x %u\n", (unsigned long)info.memory_bytes, (unsigned)info.width, (unsigned)info.height);

    rgb = load(argv[4], &frame_bytes);
    memset(&frame, 0, sizeof frame);
    frame.data = rgb;
    frame.bytes = frame_bytes;
    frame.width = (uint32_t)strtoul(argv[2], NULL, 10);
    frame.height = (uint32_t)strtoul(argv[3], NULL, 10);
    frame.format = ELUCID_RGB8;

    logits = allocate(info.classes * sizeof *logits);
    check(elucid_classify(explainer, &frame, &result, logits, info.classes), "classify");
    check(elucid_class_name(explainer, result.predicted, name, sizeof name), "name");
    printf("class %u \"%s\" probability %.6f logit %.6f\n", (unsigned)result.predicted, name, result.probability,
           (double)logits[result.predicted]);

    /* The frame that was classified; then the same from the start: the same bits. */
    check(elucid_explain(explainer, NULL, ELUCID_PREDICTED, &result), "explain");
    check(elucid_explain(explainer, &frame, ELUCID_RANK(0), &again), "explain");
    if (memcmp(&result, &again, sizeof result) != 0) return 3;

    map = allocate((size_t)info.width * info.height * sizeof *map);
    memset(&picture, 0, sizeof picture);
    picture.data = map;
    picture.bytes = (size_t)info.width * info.height * sizeof *map;
    picture.width = info.width;
    picture.height = info.height;
    picture.format = ELUCID_HEAT_F32;
    check(elucid_heat(explainer, NULL, &picture), "heat");
    save(argv[5], map, picture.bytes);

    rgba = allocate((size_t)frame.width * frame.height * 4);
    picture.data = rgba;
    picture.bytes = (size_t)frame.width * frame.height * 4;
    picture.width = frame.width;
    picture.height = frame.height;
    picture.format = ELUCID_HEAT_RGBA8;
    check(elucid_heat(explainer, &frame, &picture), "overlay");
    save(argv[6], rgba, picture.bytes);
    picture.format = ELUCID_HEAT_U8;
    check(elucid_heat(explainer, &frame, &picture), "8 bits");

    steps = allocate(info.steps * sizeof *steps);
    check(elucid_audit(explainer, &ledger, steps, info.steps), "audit");
    printf("relevance %.9g map %.9g eps %.3g dead %.3g redistributed %.3g unexplained %.3g balances %u\n", ledger.start, ledger.map,
           ledger.eps, ledger.dead, ledger.redistributed, ledger.unexplained, (unsigned)ledger.balances);
    for (i = 0; i < ledger.steps; ++i)
        if (steps[i].act < ELUCID_SPLIT || steps[i].act > ELUCID_COLLECT) return 4;

    status = elucid_cuda_probe(0, &gpu);
    if (status == ELUCID_OK)
        printf("gpu %s sm_%u%u\n", gpu.name, (unsigned)gpu.capability_major, (unsigned)gpu.capability_minor);
    else
        printf("gpu: %s\n", elucid_strerror(status));

    check(elucid_set_pool(explainer, NULL), "pool");
    check(elucid_close(explainer), "close");
    free(steps);
    free(rgba);
    free(map);
    free(logits);
    free(rgb);
    free(memory);
    free(model);
    return 0;
}
