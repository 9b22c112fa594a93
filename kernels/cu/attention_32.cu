// Attention with heads of at most 32 channels: see attention.cuh.
#include "attention.cuh"

ATTENTION_KERNEL(elucid_attention_32, 32, false, 4)
