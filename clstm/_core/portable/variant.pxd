"""One row's step of a variant that isn't plain, in plain loops: a part of the portable path.

The equations are those of docs/equations.md, the options those of `clstm._core.variant.Variant`.
"""

from libc.math cimport exp, expf, fabs, fabsf, tanh, tanhf

ctypedef fused real:
    float
    double

cdef struct Activation:
    int code                                # index in clstm._core.variant.ACTIVATIONS
    double alpha, beta
    double clip                             # limit of the argument, infinite for none
    double low, high                        # values at -clip and clip: there the backward pass has no gradient

cdef struct VariantStep:                    # weights are NULL where the variant has none
    bint coupled
    double cell_clip
    double zoneout_h, zoneout_c             # rates of zoneout in inference; 0 where there are masks
    Activation gate, candidate, output
    const void* peephole                    # (3H,)
    const void* gain                        # (4H,) and
    const void* shift                       # (4H,), of the gates' layer norm
    const void* norm_cell                   # (H,) and
    const void* norm_cell_bias              # (H,), of the cell's layer norm

cdef enum:
    SUMS = 13                               # H each: db (4), dpeephole (3), dgain (4), dnorm_cell, dnorm_cell_bias
    SCRATCH = 8                             # H each, for a row's backward step


cdef void fill_activation(Activation* f, tuple activation, double clip, bint single)

cdef void forward_variant_row(const VariantStep* step, real* a, real* norms, real* scales, real* c, real* m,
                              const unsigned char* mask, Py_ssize_t H) noexcept nogil

cdef void backward_variant_row(const VariantStep* step, real* gates, const real* norms, const real* scales,
                               const real* c_before, const real* dm, real* dc, const unsigned char* mask, double* sums,
                               real* scratch, Py_ssize_t H) noexcept nogil

cdef void zoneout(real* state, const real* new, const unsigned char* mask, double rate, Py_ssize_t n) noexcept nogil

cdef void zoneout_backward(real* d, real* d_before, const unsigned char* mask, double rate,
                           Py_ssize_t n) noexcept nogil


cdef inline real exp_(real x) noexcept nogil:
    if real is float:
        return expf(x)
    else:
        return exp(x)


cdef inline real abs_(real x) noexcept nogil:
    if real is float:
        return fabsf(x)
    else:
        return fabs(x)


cdef inline real tanh_(real x) noexcept nogil:
    if real is float:
        return tanhf(x)
    else:
        return tanh(x)


cdef inline real sigmoid(real x) noexcept nogil:
    # 1 / (1 + z) or z / (1 + z) with z = exp(-|x|), which can't overflow
    cdef real z = exp_(-abs_(x))
    return (z if x < 0 else 1) / (1 + z)
