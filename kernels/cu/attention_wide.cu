// Attention with heads of any number of channels, 64 at a time: see attention.cuh.
#include "attention.cuh"

ATTENTION_KERNEL(elucid_attention_wide, 64, true, 4)
