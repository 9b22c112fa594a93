// Attention with heads of at most 128 channels: see attention.cuh.
#include "attention.cuh"

ATTENTION_KERNEL(elucid_attention_128, 128, false, 4)
