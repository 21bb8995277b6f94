/* The layers for any processor of the architecture. */

#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wpsabi" /* vectors cross no call of other files */
#endif

#define VARIANT(name) resdual_##name##_generic
#include "layers.h"
