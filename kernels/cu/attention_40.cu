// Attention with heads of at most 40 channels: see attention.cuh.
#include "attention.cuh"

ATTENTION_KERNEL(elucid_attention_40, 40, false, 4)
