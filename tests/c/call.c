/*
 * What the C interface adds to a call: explains one tensor and draws nothing. Run under callgrind by tests/run.sh, which
 * compares elucid_explain with what it calls.
 *
 *     call MODEL.elucid
 */
#include <elucid.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    size_t bytes, most = 1 << 26, i, elements;
    void *model = malloc(most), *memory;
    float *tensor;
    elucid_info info;
    elucid *explainer;
    elucid_frame frame = {0};
    elucid_result result;
    elucid_status status;
    if (!file || !model) return 2;
    bytes = fread(model, 1, most, file);
    fclose(file);
    if (elucid_measure(model, bytes, NULL, NULL, 0, &info)) return 3;
    memory = malloc(info.memory_bytes);
    if (elucid_open(model, bytes, NULL, memory, info.memory_bytes, &explainer)) return 3;
    elements = (size_t)3 * info.width * info.height;
    tensor = malloc(elements * sizeof *tensor);
    for (i = 0; i < elements; ++i) tensor[i] = (float)((i * 7919 % 1000) / 500.0 - 1.0);
    frame.data = tensor;
    frame.bytes = elements * sizeof *tensor;
    frame.width = info.width;
    frame.height = info.height;
    frame.format = ELUCID_TENSOR_F32;
    status = elucid_explain(explainer, &frame, ELUCID_PREDICTED, &result);
    if (!status) status = elucid_close(explainer);
    printf("%s: class %u\n", elucid_strerror(status), (unsigned)result.target);
    free(tensor);
    free(memory);
    free(model);
    return status != 0;
}
