/*
 * The bare library as a firmware uses it: all memory static, planning inside the explainer's own.
 *
 *     bare MODEL.elucid
 *
 * (A firmware has the model in flash and the frame from its camera; here a file and a drawing stand in for them.)
 */
#include <elucid.h>

#include <stdio.h>

enum { SIDE = 32 };

static union {
    uint64_t align[8];
    unsigned char bytes[1 << 16];
} model;
static unsigned char memory[300 * 1024];
static unsigned char rgb[SIDE * SIDE * 3];
static float map[SIDE * SIDE];

static int stop(const char *what, elucid_status status) {
    fprintf(stderr, "%s: %s\n", what, elucid_strerror(status));
    return 1;
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    static elucid_info info;
    static elucid_options options;
    static elucid_frame frame;
    static elucid_picture picture;
    static elucid_ledger ledger;
    elucid_cuda_info gpu;
    elucid_result result;
    elucid_status status;
    elucid *explainer;
    size_t bytes, i;

    if (!file) return 2;
    bytes = fread(model.bytes, 1, sizeof model.bytes, file);
    fclose(file);
    /* No heap: planning needs to be lent its memory. */
    options.audit = 1;
    status = elucid_measure(model.bytes, bytes, &options, NULL, 0, &info);
    if (status != ELUCID_E_TOO_SMALL) return stop("measure", status);
    status = elucid_measure(model.bytes, bytes, &options, memory, sizeof memory, &info);
    if (status) return stop("measure", status);
    status = elucid_open(model.bytes, bytes, &options, memory, info.memory_bytes, &explainer);
    if (status) return stop("open", status);

    /* A yellow disc on blue. */
    for (i = 0; i < SIDE * SIDE; ++i) {
        int x = (int)(i % SIDE) - SIDE / 2, y = (int)(i / SIDE) - SIDE / 2, in = x * x + y * y < 144, dark = x * x + y * y < 36;
        rgb[3 * i] = dark ? 90 : in ? 250 : 60;
        rgb[3 * i + 1] = dark ? 60 : in ? 200 : 110;
        rgb[3 * i + 2] = dark ? 20 : in ? 20 : 200;
    }
    frame.data = rgb;
    frame.bytes = sizeof rgb;
    frame.width = frame.height = SIDE;
    status = elucid_explain(explainer, &frame, 3, &result);
    if (status) return stop("explain", status);
    picture.data = map;
    picture.bytes = sizeof map;
    picture.width = picture.height = SIDE;
    picture.format = ELUCID_HEAT_F32;
    status = elucid_heat(explainer, NULL, &picture);
    if (status) return stop("heat", status);
    status = elucid_audit(explainer, &ledger, NULL, 0);
    if (status) return stop("audit", status);
    status = elucid_cuda_probe(0, &gpu);
    if (status != ELUCID_E_NO_DRIVER) return stop("cuda", status);
    printf("memory %lu class %u map %.9g relevance %.9g\n", (unsigned long)info.memory_bytes, (unsigned)result.target, ledger.map,
           ledger.start);
    return elucid_close(explainer);
}
