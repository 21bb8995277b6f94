/* The layers for x86 processors with AVX-512 and AVX512: sixteen floats at a time. */

#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))),             \
    apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif

#define WITH_AVX512
#define VARIANT(name) resdual_##name##_avx512
#include "layers.h"

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
