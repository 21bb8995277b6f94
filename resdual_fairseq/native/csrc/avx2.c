/* The layers for x86 processors with AVX2 and FMA: eight floats at a time. */

#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define WITH_AVX2
#define VARIANT(name) resdual_##name##_avx2
#include "layers.h"

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
