// Attention with heads of at most 16 channels: see attention.cuh.
#include "attention.cuh"

ATTENTION_KERNEL(elucid_attention_16, 16, false, 4)
