// Products of pixels with queries over the channels: [q, c] and [h, w, c] to [h, w, q], image by image.
//
// The CPU reference is `matmul` in core/src/op/map.rs; both sum over channels in ascending order.
//
// Versions
//   1. a block of 128 threads for 64 pixels and 32 queries, 32 channels of both at a time in shared memory (12 KiB), 4 x 4
//      products a thread: 8 fused multiplications for 16 bytes from shared memory. Rows lie there with their blocks of 16
//      bytes permuted by the number of the row, so lanes read different banks. The next 32 channels are read from memory
//      while these are multiplied. The adapter's (1600 pixels, 100 queries, 256 channels) is 82 MFLOP in 25 * 4 blocks and
//      moves 2.4 MB: 34 operations a byte.
#include "elucid.cuh"

#define MATMUL_BLOCK 128
#define MATMUL_PIXELS 64
#define MATMUL_QUERIES 32
// Channels at a time, in blocks of 16 bytes.
#define MATMUL_QUADS 8

// Where four channels of a row lie: eight rows one after another are never in the same banks.
ELUCID_DEVICE unsigned int matmul_place(unsigned int row, unsigned int quad) {
    return (row * MATMUL_QUADS + (quad ^ row % 8)) * 4;
}

// Four channels of a row from number `channel` on, 0 beyond the last.
ELUCID_DEVICE float4 matmul_row(const float *row, unsigned int channel, unsigned int channels, bool vector, bool there) {
    float4 v = {0.0f, 0.0f, 0.0f, 0.0f};
    if (!there || channel >= channels) return v;
    if (vector) return load4(row + channel);
    v.x = row[channel];
    if (channel + 1 < channels) v.y = row[channel + 1];
    if (channel + 2 < channels) v.z = row[channel + 2];
    if (channel + 3 < channels) v.w = row[channel + 3];
    return v;
}

// Reads a thread's share of ROWS rows; `stride` floats lie between two.
template <int ROWS>
ELUCID_DEVICE void matmul_read(
    const float *from, unsigned int first, unsigned int count, unsigned int channel, unsigned int channels, bool vector,
    float4 (&v)[ROWS / 16]
) {
#pragma unroll
    for (int k = 0; k < ROWS / 16; ++k) {
        const unsigned int row = first + threadIdx.x / MATMUL_QUADS + 16 * k;
        const unsigned int at = channel + threadIdx.x % MATMUL_QUADS * 4;
        v[k] = matmul_row(from + (unsigned long long)row * channels, at, channels, vector, row < count);
    }
}

// Puts it into shared memory.
template <int ROWS>
ELUCID_DEVICE void matmul_write(float *to, const float4 (&v)[ROWS / 16]) {
#pragma unroll
    for (int k = 0; k < ROWS / 16; ++k) {
        store4(to + matmul_place(threadIdx.x / MATMUL_QUADS + 16 * k, threadIdx.x % MATMUL_QUADS), v[k]);
    }
}

ELUCID_KERNEL(elucid_matmul, MatmulParams, MATMUL_BLOCK, 4) {
    __shared__ float4 pixel_tile[MATMUL_PIXELS * MATMUL_QUADS];
    __shared__ float4 query_tile[MATMUL_QUERIES * MATMUL_QUADS];
    float *const pixels = reinterpret_cast<float *>(pixel_tile);
    float *const queries = reinterpret_cast<float *>(query_tile);

    const unsigned int lane = threadIdx.x % 8, group = threadIdx.x / 8;
    const unsigned int first_pixel = blockIdx.x * MATMUL_PIXELS, first_query = blockIdx.y * MATMUL_QUERIES;

    for (unsigned int image = blockIdx.z; image < p.images; image += gridDim.z) {
        const float *x = p.x + (unsigned long long)image * p.pixels * p.channels;
        const float *q = p.query + (unsigned long long)image * p.queries * p.channels;
        float *y = p.y + (unsigned long long)image * p.pixels * p.queries;
        float sum[4][4];
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[i][0] = sum[i][1] = sum[i][2] = sum[i][3] = 0.0f;

        float4 next_pixels[MATMUL_PIXELS / 16], next_queries[MATMUL_QUERIES / 16];
        matmul_read<MATMUL_PIXELS>(x, first_pixel, p.pixels, 0, p.channels, p.vector, next_pixels);
        matmul_read<MATMUL_QUERIES>(q, first_query, p.queries, 0, p.channels, p.vector, next_queries);
        for (unsigned int channel = 0; channel < p.channels; channel += MATMUL_QUADS * 4) {
            matmul_write<MATMUL_PIXELS>(pixels, next_pixels);
            matmul_write<MATMUL_QUERIES>(queries, next_queries);
            __syncthreads();
            const unsigned int next = channel + MATMUL_QUADS * 4;
            matmul_read<MATMUL_PIXELS>(x, first_pixel, p.pixels, next, p.channels, p.vector, next_pixels);
            matmul_read<MATMUL_QUERIES>(q, first_query, p.queries, next, p.channels, p.vector, next_queries);
#pragma unroll 2
            for (unsigned int quad = 0; quad < MATMUL_QUADS; ++quad) {
                float4 a[4], b[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    a[i] = load4(pixels + matmul_place(group + 16 * i, quad));
                    b[i] = load4(queries + matmul_place(lane + 8 * i, quad));
                }
#pragma unroll
                for (int i = 0; i < 4; ++i) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        sum[i][j] = fmaf(a[i].x, b[j].x, sum[i][j]);
                        sum[i][j] = fmaf(a[i].y, b[j].y, sum[i][j]);
                        sum[i][j] = fmaf(a[i].z, b[j].z, sum[i][j]);
                        sum[i][j] = fmaf(a[i].w, b[j].w, sum[i][j]);
                    }
                }
            }
            __syncthreads();
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const unsigned int pixel = first_pixel + group + 16 * i, query = first_query + lane + 8 * j;
                if (pixel < p.pixels && query < p.queries) y[(unsigned long long)pixel * p.queries + query] = sum[i][j];
            }
        }
    }
}
