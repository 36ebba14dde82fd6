/* The kernels of one instruction set and one real type: setup.py compiles this file once for each pair of them. */
#include "kernels.h"
#include "activations.h"
#include "backward.h"
#include "variant_backward.h"
#include "variant_forward.h"
#include "forward.h"
#include "outer.h"
#include "pack.h"
#include "product.h"
#include "roofline.h"
#include "step.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#define FLUSH_DENORMALS 0x8040u /* flush results to zero, read denormals as zero */
typedef unsigned float_mode;
static float_mode flush_denormals(void)
{
    float_mode before = _mm_getcsr();
    _mm_setcsr(before | FLUSH_DENORMALS);
    return before;
}
static void restore_mode(float_mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
typedef uint64_t float_mode;
static float_mode flush_denormals(void)
{
    float_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24)));
    return before;
}
static void restore_mode(float_mode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#endif

/* Operations on denormal numbers take up to 100 cycles, so inside a worker denormals count as zero. */
#define WORKER(name, job_type)                          \
    static void name(const job_type *job, clstm_team team) \
    {                                                   \
        float_mode before = flush_denormals();          \
        name##_all(job, &team);                         \
        restore_mode(before);                           \
    }

static void any_forward_all(const clstm_forward *job, const clstm_team *team)
{
    (job->variant_call ? variant_forward_all : forward_all)(job, team);
}

static void any_backward_all(const clstm_backward *job, const clstm_team *team)
{
    (job->variant_call ? variant_backward_all : backward_all)(job, team);
}

WORKER(any_forward, clstm_forward)
WORKER(step, clstm_step)
WORKER(any_backward, clstm_backward)
WORKER(input_gradient, clstm_backward)
WORKER(product, clstm_product)
WORKER(outer, clstm_outer)

static void activate(int which, const void *x_, void *y_, isize n)
{
    float_mode before = flush_denormals();
    for (isize i = 0; i < n; i += VL) {
        const isize have = smaller(VL, n - i);
        vec x = have == VL ? load((const real *)x_ + i) : load_part((const real *)x_ + i, have);
        vec y = which == 0 ? sigmoid(x) : tanh_(x);
        if (have == VL)
            store((real *)y_ + i, y);
        else
            store_part((real *)y_ + i, y, have);
    }
    restore_mode(before);
}

#if defined(CLSTM_AVX512)
#define ISA avx512
#elif defined(CLSTM_AVX2)
#define ISA avx2
#else
#define ISA neon
#endif
#if defined(CLSTM_F32)
#define REAL f32
#else
#define REAL f64
#endif
#define TABLE__(isa, real) clstm_##isa##_##real
#define TABLE_(isa, real) TABLE__(isa, real)
#define STRING_(x) #x
#define STRING(x) STRING_(x)

extern const clstm_kernels TABLE_(ISA, REAL);
const clstm_kernels TABLE_(ISA, REAL) = {
    .name = STRING(ISA),
    .vector_length = VECTOR_BYTES / sizeof(real),
    .item_size = sizeof(real),
    .gradient_block = GRADIENT_BLOCK,
    .tile_rows = TILE_ROWS,
    .padded = padded,
    .state_stride = state_stride,
    .gates_stride = gates_stride,
    .states_size = states_size,
    .columns_width = columns_width,
    .unit_parameters = unit_parameters,
    .statistics_per_position = STATISTICS_PER_POSITION,
    .pack_forward = pack_forward,
    .pack_bias = pack_bias,
    .pack_units = pack_units,
    .repack_backward = repack_backward,
    .pack_product = pack_product,
    .forward = any_forward,
    .step = step,
    .backward = any_backward,
    .input_gradient = input_gradient,
    .product = product,
    .outer = outer,
    .wait = barrier,
    .activate = activate,
    .multiply_add = multiply_add,
    .read_memory = read_memory,
};
