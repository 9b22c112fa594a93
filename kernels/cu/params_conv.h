/*
 * Parameters of weighted layers.
 */
#ifndef ELUCID_PARAMS_CONV_H
#define ELUCID_PARAMS_CONV_H

/* The bits of s in a cell of z+ without a denominator whose relevance is redistributed: a NaN that no arithmetic makes. */
#ifndef ELUCID_DEAD_CELL
#define ELUCID_DEAD_CELL 0x7fffdeadu
#endif

#endif
