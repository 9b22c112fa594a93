// Attention with heads of at most 64 channels: see attention.cuh.
#include "attention.cuh"

ATTENTION_KERNEL(elucid_attention_64, 64, false, 4)
