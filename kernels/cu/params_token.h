/*
 * Parameters of the layers of transformers and of the adapter.
 */
#ifndef ELUCID_PARAMS_TOKEN_H
#define ELUCID_PARAMS_TOKEN_H

#endif
