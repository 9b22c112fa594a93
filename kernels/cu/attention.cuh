// Self-attention of every image, [n, 3 c] -> [n, c]: softmax(q k^T / sqrt(width)) v in each head.
//
// The CPU reference is `forward` in core/src/op/attention.rs. That one holds the scores of a few queries against all keys
// and takes their maximum first; here scores exist for 32 keys at a time, and maximum, sum and output so far are brought
// to a new maximum when it grows. The sums are taken in another order, one that never changes.
//
// Versions
//   1. a block of two warps for 64 queries of a head. Its queries lie in shared memory, channel by channel; keys and values
//      pass through it, 32 at a time; the scores take the keys' place. A warp has 32 queries: a thread has 8 of them,
//      against 4 of the 32 keys (8 x 4 sums), later against an eighth of the head's channels (8 x 8 for 64). Its eight
//      lanes that share queries find their maximum by shuffles; sums of exponentials stay apart until the end.
//      In the inner loops 16 bytes come from shared memory for 10.7 fused multiplications of each thread (scores) and for
//      16 (output); lanes read what lies in different banks, or the same: keys and scores are stored with their blocks of 16
//      bytes permuted by the number of the key. Of their instructions (sm_87, width 64) 256 of 299 and 256 of 290 are
//      fused multiplications; with exponentials, copies and the rest some 70 of 100.
//      ViT-B/16 at 384 x 384 (577 rows, 12 heads of 64): 4 * 577^2 * 768 = 1.02 GFLOP, 4.0 million exponentials, and 10 * 12
//      blocks. Each reads its head's keys and values, 295 kB, so 35 MB pass the L2 cache, where the 5.3 MB of qkv lie; from
//      memory come these and 1.8 MB are written. 29 operations for each byte from the cache and 144 for each from memory:
//      bound by arithmetic. 32 KiB of shared memory: 4 blocks a multiprocessor on Orin, 2 on Nano.
//      Of the last block's queries and of the last tile's keys one is left (577 = 9 * 64 + 1 = 18 * 32 + 1): the warp
//      that has no query waits, and products with values stop after 4 keys.
//      A width is a file, so that a network compiles what it needs. Others use the next larger of 16, 32, 40, 64, 128 with zeros beyond their channels; scores only take the
//      channels that are there. Beyond 128 a block has 64 channels of the output, and scores are computed once for each such
//      block of channels, queries and keys passing by 64 channels at a time: it works, no more.
#ifndef ELUCID_ATTENTION_CUH
#define ELUCID_ATTENTION_CUH

#include "elucid.cuh"

#define ATTENTION_KEYS ELUCID_ATTENTION_KEYS
#define ATTENTION_BLOCK ELUCID_ATTENTION_BLOCK

// How a head of at most D channels lies in registers and shared memory.
template <int D>
struct Tile {
    enum {
        EACH = D > 64 ? 4 : 8,                   // queries of a thread
        PARTS = EACH / 4,                        // the same in blocks of 16 bytes
        QUERIES = 8 * EACH,                      // of the block
        QUADS = D / 4,                           // blocks of 16 bytes in a row of keys
        PITCH = QUADS % 4 == 0 ? QUADS : QUADS + 1, // and from one row to the next
        OWN = D / 8,                             // output channels of a thread
        BY_FOUR = OWN % 4 == 0,                  // whether they come in fours
        KEYS = ATTENTION_KEYS * PITCH * 4,       // floats
        SCORES = ATTENTION_KEYS * QUERIES,
        SHARED = KEYS > SCORES ? KEYS : SCORES,  // keys, then scores
        TOTAL = D * QUERIES + SHARED + ATTENTION_KEYS * D
    };

    // Where four channels of a key lie: eight keys in a row, or eight that start at a multiple of eight, are never in the
    // same banks.
    ELUCID_DEVICE unsigned int key(unsigned int key, unsigned int quad) {
        const unsigned int turn = QUADS == 4 ? key / 2 % 4 : QUADS % 8 == 0 ? key % 8 : 0;
        return (key * PITCH + (quad ^ turn)) * 4;
    }

    // Where the scores of four queries with a key lie.
    ELUCID_DEVICE unsigned int score(unsigned int key, unsigned int quad) { return key * QUERIES + (quad ^ key % 8) * 4; }

    // The output channel of a thread's number `i`.
    ELUCID_DEVICE unsigned int channel(unsigned int lane, int i) { return BY_FOUR ? i / 4 * 32 + lane * 4 + i % 4 : lane + 8 * i; }
};

// Four channels of a row from number `channel` on, 0 from `width` on.
ELUCID_DEVICE float4 attention_row(const float *row, unsigned int channel, unsigned int width, bool vector, bool there) {
    float4 v = {0.0f, 0.0f, 0.0f, 0.0f};
    if (!there || channel >= width) return v;
    if (vector) return load4(row + channel);
    v.x = row[channel];
    if (channel + 1 < width) v.y = row[channel + 1];
    if (channel + 2 < width) v.z = row[channel + 2];
    if (channel + 3 < width) v.w = row[channel + 3];
    return v;
}

// Where a block is.
struct Place {
    const float *head;    // the first query of its head
    unsigned int stride;  // floats from one row to the next
    unsigned int first;   // its first query
    unsigned int channel; // its first output channel in the head; 0 unless it has some of them only
};

// A block's queries to shared memory, channel by channel, from number `channel` of the head on.
template <int D>
ELUCID_DEVICE void take_queries(const AttentionParams &p, const Place &place, unsigned int channel, float *queries) {
    typedef Tile<D> T;
#pragma unroll 4
    for (unsigned int i = threadIdx.x; i < T::QUERIES * T::QUADS; i += ATTENTION_BLOCK) {
        const unsigned int query = i % T::QUERIES, quad = i / T::QUERIES;
        const unsigned int row = place.first + query;
        const float *from = place.head + (unsigned long long)row * place.stride;
        const float4 v = attention_row(from, channel + 4 * quad, p.width, p.vector, row < p.n);
        float *to = queries + 4 * quad * T::QUERIES + query;
        to[0] = v.x;
        to[T::QUERIES] = v.y;
        to[2 * T::QUERIES] = v.z;
        to[3 * T::QUERIES] = v.w;
    }
}

// A tile of keys to shared memory, or of values.
template <int D, bool VALUES>
ELUCID_DEVICE void take_rows(
    const AttentionParams &p, const Place &place, unsigned int first, unsigned int channel, float *rows
) {
    typedef Tile<D> T;
    const float *from = place.head + (VALUES ? 2 : 1) * (unsigned long long)p.channels;
#pragma unroll 4
    for (unsigned int i = threadIdx.x; i < ATTENTION_KEYS * T::QUADS; i += ATTENTION_BLOCK) {
        const unsigned int row = i / T::QUADS, quad = i % T::QUADS;
        const float *at = from + (unsigned long long)(first + row) * place.stride;
        const float4 v = attention_row(at, channel + 4 * quad, p.width, p.vector, first + row < p.n);
        store4(rows + (VALUES ? row * D + 4 * quad : T::key(row, quad)), v);
    }
}

// Adds to the scores of a thread's queries, which are from `query` on, with its keys the products of `quads` times four
// channels.
template <int D>
ELUCID_DEVICE void add_scores(
    const float *queries, const float *keys, unsigned int query, unsigned int lane, unsigned int quads, float (&s)[Tile<D>::EACH][4]
) {
    typedef Tile<D> T;
#pragma unroll 2
    for (unsigned int quad = 0; quad < quads; ++quad) {
        float key[4][4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const float4 v = load4(keys + T::key(lane, quad) + j * 8 * T::PITCH * 4);
            key[j][0] = v.x;
            key[j][1] = v.y;
            key[j][2] = v.z;
            key[j][3] = v.w;
        }
#pragma unroll
        for (int d = 0; d < 4; ++d) {
#pragma unroll
            for (int part = 0; part < T::PARTS; ++part) {
                const float4 q = load4(queries + (4 * quad + d) * T::QUERIES + query + 4 * part);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    s[4 * part][j] = fmaf(q.x, key[j][d], s[4 * part][j]);
                    s[4 * part + 1][j] = fmaf(q.y, key[j][d], s[4 * part + 1][j]);
                    s[4 * part + 2][j] = fmaf(q.z, key[j][d], s[4 * part + 2][j]);
                    s[4 * part + 3][j] = fmaf(q.w, key[j][d], s[4 * part + 3][j]);
                }
            }
        }
    }
}

// The scores become exponentials; maxima, sums and outputs are brought up to them.
template <int D>
ELUCID_DEVICE void soften(
    float scale, float (&s)[Tile<D>::EACH][4], float (&most)[Tile<D>::EACH], float (&sum)[Tile<D>::EACH],
    float (&out)[Tile<D>::EACH][Tile<D>::OWN]
) {
    typedef Tile<D> T;
#pragma unroll
    for (int i = 0; i < T::EACH; ++i) {
        float larger = fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3]));
        larger = fmaxf(larger, __shfl_xor_sync(0xffffffffu, larger, 1));
        larger = fmaxf(larger, __shfl_xor_sync(0xffffffffu, larger, 2));
        larger = fmaxf(larger, __shfl_xor_sync(0xffffffffu, larger, 4));
        larger = fmaxf(larger, most[i]);
        // 0 for the first tile, before which there was nothing.
        const float factor = exp2f(mul_rn(sub_rn(most[i], larger), scale));
        most[i] = larger;
#pragma unroll
        for (int j = 0; j < 4; ++j) s[i][j] = exp2f(mul_rn(sub_rn(s[i][j], larger), scale));
        sum[i] = fmaf(sum[i], factor, (s[i][0] + s[i][1]) + (s[i][2] + s[i][3]));
#pragma unroll
        for (int e = 0; e < T::OWN; ++e) out[i][e] = mul_rn(out[i][e], factor);
    }
}

// Adds to the output of a thread's queries, whose scores are from `quad` on, its channels of the values of `count` keys.
template <int D>
ELUCID_DEVICE void add_values(
    const float *scores, const float *values, unsigned int quad, unsigned int lane, unsigned int count,
    float (&out)[Tile<D>::EACH][Tile<D>::OWN]
) {
    typedef Tile<D> T;
    // Beyond the last key scores and values are 0.
    for (unsigned int first = 0; first < count; first += 4) {
        const unsigned int turned = quad ^ first % 8;
#pragma unroll
        for (unsigned int i = 0; i < 4; ++i) {
            const float *from = values + (first + i) * D;
            float value[T::OWN];
            if (T::BY_FOUR) {
#pragma unroll
                for (int e = 0; e + 3 < T::OWN; e += 4) {
                    const float4 v = load4(from + T::channel(lane, e));
                    value[e] = v.x;
                    value[e + 1] = v.y;
                    value[e + 2] = v.z;
                    value[e + 3] = v.w;
                }
            } else {
#pragma unroll
                for (int e = 0; e < T::OWN; ++e) value[e] = from[T::channel(lane, e)];
            }
#pragma unroll
            for (int part = 0; part < T::PARTS; ++part) {
                const float4 s = load4(scores + first * T::QUERIES + T::score(i, turned ^ part));
#pragma unroll
                for (int e = 0; e < T::OWN; ++e) {
                    out[4 * part][e] = fmaf(s.x, value[e], out[4 * part][e]);
                    out[4 * part + 1][e] = fmaf(s.y, value[e], out[4 * part + 1][e]);
                    out[4 * part + 2][e] = fmaf(s.z, value[e], out[4 * part + 2][e]);
                    out[4 * part + 3][e] = fmaf(s.w, value[e], out[4 * part + 3][e]);
                }
            }
        }
    }
}

// A thread's channels of its queries' rows, which start at `y`.
template <int D>
ELUCID_DEVICE void give(
    const AttentionParams &p, const Place &place, unsigned int query, unsigned int lane, float *y, float (&sum)[Tile<D>::EACH],
    float (&out)[Tile<D>::EACH][Tile<D>::OWN]
) {
    typedef Tile<D> T;
#pragma unroll
    for (int i = 0; i < T::EACH; ++i) {
        float all = sum[i];
        all = add_rn(all, __shfl_xor_sync(0xffffffffu, all, 1));
        all = add_rn(all, __shfl_xor_sync(0xffffffffu, all, 2));
        all = add_rn(all, __shfl_xor_sync(0xffffffffu, all, 4));
        const float inverse = div_rn(1.0f, all);
        const unsigned int row = place.first + query + i;
        if (row >= p.n) continue;
        float *to = y + (unsigned long long)row * p.channels;
        if (T::BY_FOUR && p.vector) {
#pragma unroll
            for (int e = 0; e + 3 < T::OWN; e += 4) {
                const unsigned int channel = place.channel + T::channel(lane, e);
                float4 v;
                v.x = mul_rn(out[i][e], inverse);
                v.y = mul_rn(out[i][e + 1], inverse);
                v.z = mul_rn(out[i][e + 2], inverse);
                v.w = mul_rn(out[i][e + 3], inverse);
                if (channel < p.width) store4(to + channel, v);
            }
        } else {
#pragma unroll
            for (int e = 0; e < T::OWN; ++e) {
                const unsigned int channel = place.channel + T::channel(lane, e);
                if (channel < p.width) to[channel] = mul_rn(out[i][e], inverse);
            }
        }
    }
}

// A block's queries of one head of one image after the other; heads wider than D pass by D channels at a time.
template <int D, bool WIDE>
ELUCID_DEVICE void attend(const AttentionParams &p, float *shared) {
    typedef Tile<D> T;
    float *const queries = shared;
    float *const keys = shared + D * T::QUERIES;
    float *const values = keys + T::SHARED;

    const unsigned int lane = threadIdx.x % 8;
    const unsigned int query = threadIdx.x / 8 * T::EACH;
    const unsigned int chunks = WIDE ? (p.width + D - 1) / D : 1;
    const unsigned int head = WIDE ? blockIdx.y / chunks : blockIdx.y;
    Place place;
    place.stride = 3 * p.channels;
    place.first = blockIdx.x * T::QUERIES;
    place.channel = WIDE ? blockIdx.y % chunks * D : 0;
    // Whether any query of this warp is there.
    const bool busy = place.first + threadIdx.x / 32 * 4 * T::EACH < p.n;

    for (unsigned int image = blockIdx.z; image < p.images; image += gridDim.z) {
        const unsigned long long rows = (unsigned long long)image * p.n;
        place.head = p.qkv + rows * place.stride + head * p.width;
        float out[T::EACH][T::OWN], most[T::EACH], sum[T::EACH];
#pragma unroll
        for (int i = 0; i < T::EACH; ++i) {
            most[i] = of_bits(0xff800000u);
            sum[i] = 0.0f;
#pragma unroll
            for (int e = 0; e < T::OWN; ++e) out[i][e] = 0.0f;
        }
        // The last image's queries are done with: all have passed the barrier after their last scores.
        if (!WIDE) take_queries<D>(p, place, 0, queries);

        for (unsigned int first = 0; first < p.n; first += ATTENTION_KEYS) {
            const unsigned int count = p.n - first < ATTENTION_KEYS ? p.n - first : ATTENTION_KEYS;
            float s[T::EACH][4];
#pragma unroll
            for (int i = 0; i < T::EACH; ++i) s[i][0] = s[i][1] = s[i][2] = s[i][3] = 0.0f;

            for (unsigned int chunk = 0; chunk < chunks; ++chunk) {
                const unsigned int channel = chunk * D;
                const unsigned int rest = p.width - channel < D ? p.width - channel : D;
                if (WIDE) take_queries<D>(p, place, channel, queries);
                take_rows<D, false>(p, place, first, channel, keys);
                if (chunk == 0) take_rows<D, true>(p, place, first, place.channel, values);
                __syncthreads();
                if (busy) add_scores<D>(queries, keys, query, lane, (rest + 3) / 4, s);
                __syncthreads();
            }

            if (busy) {
                if (count < ATTENTION_KEYS) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        if (lane + 8 * j >= count) {
#pragma unroll
                            for (int i = 0; i < T::EACH; ++i) s[i][j] = of_bits(0xff800000u);
                        }
                    }
                }
                soften<D>(p.scale, s, most, sum, out);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
#pragma unroll
                    for (int part = 0; part < T::PARTS; ++part) {
                        float4 v;
                        v.x = s[4 * part][j];
                        v.y = s[4 * part + 1][j];
                        v.z = s[4 * part + 2][j];
                        v.w = s[4 * part + 3][j];
                        store4(keys + T::score(lane + 8 * j, query / 4 + part), v);
                    }
                }
            }
            __syncthreads();
            if (busy) add_values<D>(keys, values, query / 4, lane, count, out);
            __syncthreads();
        }
        if (busy) give<D>(p, place, query, lane, p.y + rows * p.channels + head * p.width, sum, out);
    }
}

#define ATTENTION_KERNEL(name, D, WIDE, blocks)                      \
    ELUCID_KERNEL(name, AttentionParams, ATTENTION_BLOCK, blocks) {  \
        __shared__ float4 shared[Tile<D>::TOTAL / 4];                \
        attend<D, WIDE>(p, reinterpret_cast<float *>(shared));       \
    }


#endif
