/* Which kernels this build holds (CLSTM_HAVE_*, set by setup.py) and this processor can run. */
#include <string.h>

#include "kernels.h"

#if defined(CLSTM_HAVE_AVX512)
extern const clstm_kernels clstm_avx512_f32, clstm_avx512_f64;
#endif
#if defined(CLSTM_HAVE_AVX2)
extern const clstm_kernels clstm_avx2_f32, clstm_avx2_f64;
#endif
#if defined(CLSTM_HAVE_NEON)
extern const clstm_kernels clstm_neon_f32, clstm_neon_f64;
#endif

const clstm_kernels *clstm_kernels_for(const char *isa, ptrdiff_t item_size)
{
#if defined(CLSTM_HAVE_AVX512) || defined(CLSTM_HAVE_AVX2)
    __builtin_cpu_init(); /* also checks that the operating system saves the wide registers */
#endif
#if defined(CLSTM_HAVE_AVX512)
    if (!strcmp(isa, "avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma"))
        return item_size == 4 ? &clstm_avx512_f32 : &clstm_avx512_f64;
#endif
#if defined(CLSTM_HAVE_AVX2)
    if (!strcmp(isa, "avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return item_size == 4 ? &clstm_avx2_f32 : &clstm_avx2_f64;
#endif
#if defined(CLSTM_HAVE_NEON)
    if (!strcmp(isa, "neon"))
        return item_size == 4 ? &clstm_neon_f32 : &clstm_neon_f64;
#endif
    (void)isa, (void)item_size;
    return NULL;
}
