// The transposed product of layers with up to four input channels: a stem under rules that look at the image, or the
// derivative by the image. out (+)= a * conv_transposed(s, w), [oh, ow, co] -> [h, w, ci], of one image.
//
// The tile of conv_back.cu would spend 64 columns on three channels. Here a warp owns a pixel and its lanes go over output
// channels: sixteen neighbours read a panel's row, 64 bytes of weights and of s at a time.
//
// The CPU reference is `transposed_narrow` in core/src/op/conv/transposed.rs.
//
// Versions
//   1. a warp per pixel, all input channels at once: s is read once for all of them.
#include "elucid.cuh"

template <class Weight> ELUCID_DEVICE void narrow_back(const BackParams &p) {
    const ConvShape &s = p.shape;
    const unsigned int pixel = elucid_thread() / 32u, lane = threadIdx.x & 31u;
    if (pixel >= s.h * s.w) return; // a whole warp
    const Weight *weight = (const Weight *)p.weight;
    const int y = (int)(pixel / s.w), x = (int)(pixel % s.w), stride = (int)s.stride;
    const int cy = (y + (int)s.pad) / stride, cx = (x + (int)s.pad) / stride;
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int ky = y + (int)s.pad - cy * stride, oy = cy; ky < (int)s.kh; ky += stride, --oy) {
        if ((unsigned int)oy >= s.oh) continue;
        for (int kx = x + (int)s.pad - cx * stride, ox = cx; kx < (int)s.kw; kx += stride, --ox) {
            if ((unsigned int)ox >= s.ow) continue;
            const unsigned int cell = (unsigned int)(oy * (int)s.ow + ox) * s.co;
            const unsigned int tap = (unsigned int)(ky * (int)s.kw + kx);
            for (unsigned int j = lane; j < s.co; j += 32u) {
                const float v = p.s[cell + j];
                const unsigned long long row = (unsigned long long)(j / ELUCID_PANEL * s.kh * s.kw + tap) * s.ci;
#pragma unroll
                for (unsigned int i = 0; i < 4u; ++i) {
                    if (i >= s.ci) continue;
                    const float w = widen(weight[(row + i) * ELUCID_PANEL + j % ELUCID_PANEL]);
                    sum[i] = fmaf(v, p.plus ? fmaxf(w, 0.0f) : w, sum[i]);
                }
            }
        }
    }
#pragma unroll
    for (unsigned int i = 0; i < 4u; ++i) {
        for (int offset = 16; offset > 0; offset >>= 1)
            sum[i] = add_rn(sum[i], __shfl_xor_sync(0xffffffffu, sum[i], offset));
        const unsigned int to = pixel * s.ci + i;
        if (lane != i || i >= s.ci) continue;
        const float a = p.a ? p.a[to] : 1.0f;
        p.out[to] = p.accumulate ? fmaf(a, sum[i], p.out[to]) : mul_rn(a, sum[i]);
    }
}

ELUCID_KERNEL(elucid_stem_back_f32, BackParams, ELUCID_BLOCK, 6) { narrow_back<float>(p); }
ELUCID_KERNEL(elucid_stem_back_f16, BackParams, ELUCID_BLOCK, 6) { narrow_back<elucid_half>(p); }
