/*
 * Raw frames in, overlays out, in bounded memory: for a pipe between a camera and a screen, without GStreamer or OpenCV.
 *
 *     ffmpeg -i /dev/video0 -f rawvideo -pix_fmt nv12 - |
 *         stream MODEL.elucid nv12 1280 720 |
 *         ffplay -f rawvideo -pixel_format rgba -video_size 1280x720 -
 *
 *     stream MODEL.elucid rgb|bgr|nv12 WIDTH HEIGHT [EVERY]
 *
 * Reads frames from the standard input and writes RGBA pictures of the same size to the standard output. Every EVERYth frame is explained
 * (all of them by default); the others are shown with the last map. One frame and one picture are held, whatever the length of
 * the stream. What is seen goes to the standard error, a line for each explained frame.
 */
#include <elucid.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *what, const char *why) {
    fprintf(stderr, "stream: %s: %s\n", what, why);
    return 1;
}

int main(int argc, char **argv) {
    FILE *file;
    long end;
    void *model, *memory;
    unsigned char *pixels, *rgba;
    size_t model_bytes, frame_bytes, area, count = 0, every = 1;
    unsigned long width, height;
    elucid_info info;
    elucid *explainer;
    elucid_frame frame;
    elucid_picture picture;
    elucid_result result;
    elucid_status status;
    char name[128];

    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: %s MODEL.elucid rgb|bgr|nv12 WIDTH HEIGHT [EVERY]\n", argv[0]);
        return 2;
    }
    width = strtoul(argv[3], NULL, 10);
    height = strtoul(argv[4], NULL, 10);
    if (argc == 6) every = strtoul(argv[5], NULL, 10);
    if (width < 1 || width > 16384 || height < 1 || height > 16384 || every < 1) return fail(argv[3], "no such size");

    file = fopen(argv[1], "rb");
    if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0 || fseek(file, 0, SEEK_SET)) return fail(argv[1], "can't be read");
    model_bytes = (size_t)end;
    model = malloc(model_bytes + 1);
    if (!model || fread(model, 1, model_bytes, file) != model_bytes) return fail(argv[1], "can't be read");
    fclose(file);

    status = elucid_measure(model, model_bytes, NULL, NULL, 0, &info);
    if (status) return fail(argv[1], elucid_strerror(status));
    memory = malloc(info.memory_bytes);
    if (!memory) return fail(argv[1], "no memory");
    status = elucid_open(model, model_bytes, NULL, memory, info.memory_bytes, &explainer);
    if (status) return fail(argv[1], elucid_strerror(status));

    area = (size_t)width * height;
    memset(&frame, 0, sizeof frame);
    frame.width = (uint32_t)width;
    frame.height = (uint32_t)height;
    if (strcmp(argv[2], "nv12") == 0) {
        frame.format = ELUCID_NV12;
        frame.bytes = area;
        frame.chroma_bytes = 2 * ((width + 1) / 2) * ((height + 1) / 2);
    } else if (strcmp(argv[2], "rgb") == 0 || strcmp(argv[2], "bgr") == 0) {
        frame.format = argv[2][0] == 'r' ? ELUCID_RGB8 : ELUCID_BGR8;
        frame.bytes = 3 * area;
    } else {
        return fail(argv[2], "no such format");
    }
    frame_bytes = frame.bytes + frame.chroma_bytes;
    pixels = malloc(frame_bytes);
    rgba = malloc(4 * area);
    if (!pixels || !rgba) return fail(argv[2], "no memory");
    frame.data = pixels;
    frame.chroma = pixels + frame.bytes;
    memset(&picture, 0, sizeof picture);
    picture.data = rgba;
    picture.bytes = 4 * area;
    picture.width = frame.width;
    picture.height = frame.height;
    picture.format = ELUCID_HEAT_RGBA8;
    fprintf(stderr, "%lu bytes for the explainer, %lu for frame and picture, %lu for the model\n", (unsigned long)info.memory_bytes,
            (unsigned long)(frame_bytes + 4 * area), (unsigned long)model_bytes);

    for (; fread(pixels, 1, frame_bytes, stdin) == frame_bytes; ++count) {
        if (count % every == 0) {
            status = elucid_explain(explainer, &frame, ELUCID_PREDICTED, &result);
            if (status) return fail("explain", elucid_strerror(status));
            if (elucid_class_name(explainer, result.predicted, name, sizeof name)) name[0] = 0;
            fprintf(stderr, "frame %lu: class %u %s %.3f\n", (unsigned long)count, (unsigned)result.predicted, name,
                    result.probability);
        }
        status = elucid_heat(explainer, &frame, &picture);
        if (status) return fail("heat", elucid_strerror(status));
        if (fwrite(rgba, 1, picture.bytes, stdout) != picture.bytes) return fail("standard output", "can't be written");
    }
    if (fflush(stdout)) return fail("standard output", "can't be written");
    elucid_close(explainer);
    free(rgba);
    free(pixels);
    free(memory);
    free(model);
    return 0;
}
