/*
 * Parameters of weighted layers.
 */
#ifndef ELUCID_PARAMS_CONV_H
#define ELUCID_PARAMS_CONV_H

#endif
