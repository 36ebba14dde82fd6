# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""One row's step of a variant that isn't plain, in plain loops: a part of the portable path.

A step is a sequence of passes over the row's H units, one for each equation, so that options are tested once a pass and
not once a unit. Sums over a row (layer norm) and over rows (gradients of weights that each unit has of itself) are in
float64.
"""

from libc.math cimport INFINITY, expm1, expm1f, log1p, log1pf, sqrt
from libc.string cimport memcpy, memset

from clstm._core import variant as options

cdef enum:
    # clstm._core.variant.ACTIVATIONS
    SIGMOID, TANH, RELU, HARD_SIGMOID, LEAKY_RELU, THRESHOLDED_RELU, ELU, AFFINE, SCALED_TANH, SOFTSIGN, SOFTPLUS
    LINEAR, EXPONENTIAL, SELU

cdef double NORM_EPS = options.NORM_EPS, SELU_ALPHA = options.SELU_ALPHA, SELU_SCALE = options.SELU_SCALE


# Activations ---------------------------------------------------------------------------------------------------------

cdef inline real expm1_(real x) noexcept nogil:
    if real is float:
        return expm1f(x)
    else:
        return expm1(x)


cdef inline real log1p_(real x) noexcept nogil:
    if real is float:
        return log1pf(x)
    else:
        return log1p(x)


cdef inline real elu(real x, real alpha) noexcept nogil:
    return alpha * expm1_(x) if x < 0 else x


cdef inline real within(real low, real x, real high) noexcept nogil:
    return low if x < low else high if x > high else x  # NaN stays


cdef void activate(const Activation* f, real* x, Py_ssize_t n) noexcept nogil:
    """Replace x (n,) by f of x, clipped first."""
    cdef Py_ssize_t j
    cdef real alpha = <real> f.alpha, beta = <real> f.beta, clip = <real> f.clip
    if f.clip < INFINITY:
        for j in range(n):
            x[j] = within(-clip, x[j], clip)
    if f.code == SIGMOID:
        for j in range(n):
            x[j] = sigmoid(x[j])
    elif f.code == TANH:
        for j in range(n):
            x[j] = tanh_(x[j])
    elif f.code == RELU:
        for j in range(n):
            x[j] = 0 if x[j] < 0 else x[j]
    elif f.code == HARD_SIGMOID:
        for j in range(n):
            x[j] = within(<real> 0, alpha * x[j] + beta, <real> 1)
    elif f.code == LEAKY_RELU:
        for j in range(n):
            x[j] = alpha * x[j] if x[j] < 0 else x[j]
    elif f.code == THRESHOLDED_RELU:
        for j in range(n):
            x[j] = 0 if x[j] <= alpha else x[j]
    elif f.code == ELU:
        for j in range(n):
            x[j] = elu(x[j], alpha)
    elif f.code == AFFINE:
        for j in range(n):
            x[j] = alpha * x[j] + beta
    elif f.code == SCALED_TANH:
        for j in range(n):
            x[j] = alpha * tanh_(beta * x[j])
    elif f.code == SOFTSIGN:
        for j in range(n):
            x[j] = x[j] / (1 + abs_(x[j]))
    elif f.code == SOFTPLUS:
        for j in range(n):
            x[j] = (0 if x[j] < 0 else x[j]) + log1p_(exp_(-abs_(x[j])))
    elif f.code == EXPONENTIAL:
        for j in range(n):
            x[j] = exp_(x[j])
    elif f.code == SELU:
        alpha, beta = <real> SELU_ALPHA, <real> SELU_SCALE
        for j in range(n):
            x[j] = beta * elu(x[j], alpha)


cdef void activate_backward(const Activation* f, const real* y, real* d, Py_ssize_t n) noexcept nogil:
    """Multiply d (n,) by f's slope, found from its values y."""
    cdef Py_ssize_t j
    cdef real alpha = <real> f.alpha, beta = <real> f.beta, low = <real> f.low, high = <real> f.high
    if f.code == SIGMOID:
        for j in range(n):
            d[j] *= y[j] * (1 - y[j])
    elif f.code == TANH:
        for j in range(n):
            d[j] *= 1 - y[j] * y[j]
    elif f.code == RELU:
        for j in range(n):
            d[j] = d[j] if y[j] > 0 else 0
    elif f.code == HARD_SIGMOID:
        for j in range(n):
            d[j] = alpha * d[j] if 0 < y[j] and y[j] < 1 else 0
    elif f.code == LEAKY_RELU:
        for j in range(n):
            d[j] = d[j] if y[j] > 0 else alpha * d[j]
    elif f.code == THRESHOLDED_RELU:
        for j in range(n):
            d[j] = d[j] if y[j] != 0 else 0
    elif f.code == ELU:
        for j in range(n):
            d[j] = d[j] if y[j] > 0 else d[j] * (y[j] + alpha)
    elif f.code == AFFINE:
        for j in range(n):
            d[j] *= alpha
    elif f.code == SCALED_TANH:
        for j in range(n):
            d[j] = d[j] * beta * (alpha - y[j] * y[j] / alpha) if alpha != 0 else 0
    elif f.code == SOFTSIGN:
        for j in range(n):
            d[j] *= (1 - abs_(y[j])) * (1 - abs_(y[j]))
    elif f.code == SOFTPLUS:
        for j in range(n):
            d[j] *= -expm1_(-y[j])
    elif f.code == EXPONENTIAL:
        for j in range(n):
            d[j] *= y[j]
    elif f.code == SELU:
        alpha, beta = <real> (SELU_ALPHA * SELU_SCALE), <real> SELU_SCALE
        for j in range(n):
            d[j] *= beta if y[j] > 0 else y[j] + alpha
    if f.clip < INFINITY:
        for j in range(n):
            d[j] = 0 if y[j] == low or y[j] == high else d[j]


cdef void fill_activation(Activation* f, tuple activation, double clip, bint single):
    """Fill f in from (code, alpha, beta) and the limit of its argument; `single` for float32."""
    cdef float[2] ends_single = [<float> -clip, <float> clip]
    cdef double[2] ends = [-clip, clip]
    f.code, f.alpha, f.beta = activation
    f.clip = clip
    if single:
        activate(f, &ends_single[0], 2)
        f.low, f.high = ends_single[0], ends_single[1]
    else:
        activate(f, &ends[0], 2)
        f.low, f.high = ends[0], ends[1]


# Layer norm ----------------------------------------------------------------------------------------------------------

cdef real normalise(const real* a, real* values, Py_ssize_t n) noexcept nogil:
    """Write a (n,) with mean 0 and variance 1 to values, which may be a; return 1 / sqrt(variance + eps)."""
    cdef Py_ssize_t j
    cdef double mean = 0, variance = 0
    cdef real scale
    for j in range(n):
        mean += a[j]
    mean /= n
    for j in range(n):
        variance += (a[j] - mean) * (a[j] - mean)
    scale = <real> (1 / sqrt(variance / n + NORM_EPS))
    for j in range(n):
        values[j] = <real> (a[j] - mean) * scale
    return scale


cdef void normalise_backward(real* d, const real* values, real scale, Py_ssize_t n) noexcept nogil:
    """Replace d, the gradient of the normalised values, by the gradient of what was normalised."""
    cdef Py_ssize_t j
    cdef double mean = 0, along = 0
    for j in range(n):
        mean += d[j]
        along += <double> d[j] * values[j]
    mean /= n
    along /= n
    for j in range(n):
        d[j] = scale * <real> (d[j] - mean - values[j] * along)


# Zoneout -------------------------------------------------------------------------------------------------------------

cdef void zoneout(real* state, const real* new, const unsigned char* mask, double rate, Py_ssize_t n) noexcept nogil:
    """Replace the state (n,) by the new one: where the mask is 0, or without a mask by the mean at the given rate."""
    cdef Py_ssize_t j
    cdef real old = <real> rate, other = <real> (1 - rate)
    if mask != NULL:
        for j in range(n):
            if not mask[j]:
                state[j] = new[j]
    elif rate == 0:
        memcpy(state, new, n * sizeof(real))
    else:
        for j in range(n):
            state[j] = old * state[j] + other * new[j]


cdef void zoneout_backward(real* d, real* d_before, const unsigned char* mask, double rate,
                           Py_ssize_t n) noexcept nogil:
    """From d, the gradient of the state, write that of the state before to d_before and that of the new one to d."""
    cdef Py_ssize_t j
    cdef real old = <real> rate, other = <real> (1 - rate)
    if mask != NULL:
        for j in range(n):
            d_before[j] = d[j] if mask[j] else 0
            d[j] = 0 if mask[j] else d[j]
    elif rate == 0:
        memset(d_before, 0, n * sizeof(real))
    else:
        for j in range(n):
            d_before[j] = old * d[j]
            d[j] = other * d[j]


# Forward -------------------------------------------------------------------------------------------------------------

cdef inline void normalise_gates(const VariantStep* step, real* a, real* norms, real* scales,
                                 Py_ssize_t H) noexcept nogil:
    """Normalise each gate of a (4H,), then scale and shift it; norms and scales as in `forward_variant_row`."""
    cdef Py_ssize_t j, k
    cdef const real* gain = <const real*> step.gain
    cdef const real* shift = <const real*> step.shift
    cdef real* values
    cdef real scale
    for k in range(step.coupled, 4):
        values = (a if norms == NULL else norms) + k * H
        scale = normalise(a + k * H, values, H)
        if scales != NULL:
            scales[k] = scale
        for j in range(H):
            a[k * H + j] = gain[k * H + j] * values[j] + shift[k * H + j]


cdef inline void scale_and_shift(const VariantStep* step, real* out, const real* values, Py_ssize_t H) noexcept nogil:
    """Write the normalised cell state, scaled and shifted, to out (H,), which may be values."""
    cdef Py_ssize_t j
    cdef const real* weight = <const real*> step.norm_cell
    cdef const real* bias = <const real*> step.norm_cell_bias
    for j in range(H):
        out[j] = weight[j] * values[j] + (0 if bias == NULL else bias[j])


cdef void forward_variant_row(const VariantStep* step, real* a, real* norms, real* scales, real* c, real* m,
                              const unsigned char* mask, Py_ssize_t H) noexcept nogil:
    """Take a row's step: a (4H,) becomes the gates, c (H,) the next c, m (H,) the output before projection and zoneout.

    norms (4H,) and scales (4,) are written for the backward pass, unless NULL. mask (H,) is the zoneout mask of c.
    """
    cdef Py_ssize_t j
    cdef const real* p = <const real*> step.peephole
    cdef real* i = a
    cdef real* f = a + H
    cdef real* g = a + 2 * H
    cdef real* o = a + 3 * H
    cdef real limit = <real> step.cell_clip
    if step.gain != NULL:
        normalise_gates(step, a, norms, scales, H)
    if p != NULL:
        for j in range(H):
            i[j] += p[j] * c[j]
            f[j] += p[H + j] * c[j]
    activate(&step.gate, f, H)
    if step.coupled:
        for j in range(H):
            i[j] = 1 - f[j]
    else:
        activate(&step.gate, i, H)
    activate(&step.candidate, g, H)
    for j in range(H):
        m[j] = f[j] * c[j] + i[j] * g[j]
    if step.cell_clip < INFINITY:
        for j in range(H):
            m[j] = within(-limit, m[j], limit)
    if p != NULL:
        for j in range(H):
            o[j] += p[2 * H + j] * m[j]
    activate(&step.gate, o, H)
    zoneout(c, m, mask, step.zoneout_c, H)
    if step.norm_cell != NULL:
        normalise(m, m, H)
        scale_and_shift(step, m, m, H)
    activate(&step.output, m, H)
    for j in range(H):
        m[j] *= o[j]


# Backward ------------------------------------------------------------------------------------------------------------

cdef inline real compute_cell_again(const VariantStep* step, const real* gates, const real* c_before, real* c_new,
                                    real* values, real* shown, Py_ssize_t H) noexcept nogil:
    """Write the new c, c normalised (with layer norm) and the output's activation, (H,) each; return the norm's scale."""
    cdef Py_ssize_t j
    cdef const real* i = gates
    cdef const real* f = gates + H
    cdef const real* g = gates + 2 * H
    cdef real scale = 1, limit = <real> step.cell_clip
    for j in range(H):
        c_new[j] = within(-limit, f[j] * c_before[j] + i[j] * g[j], limit)
    memcpy(shown, c_new, H * sizeof(real))
    if step.norm_cell != NULL:
        scale = normalise(c_new, values, H)
        scale_and_shift(step, shown, values, H)
    activate(&step.output, shown, H)
    return scale


cdef inline void backward_output(const VariantStep* step, const real* o, const real* dm, const real* values, real scale,
                                 const real* shown, real* d_o, real* dc_new, double* sums, Py_ssize_t H) noexcept nogil:
    """From dm write the gradients of o's sum and of the new c, (H,) each: m = o output(norm(c))."""
    cdef Py_ssize_t j
    cdef const real* weight = <const real*> step.norm_cell
    cdef double* dweight = sums + 11 * H
    cdef double* dbias = sums + 12 * H
    for j in range(H):
        d_o[j] = dm[j] * shown[j]
        dc_new[j] = dm[j] * o[j]
    activate_backward(&step.output, shown, dc_new, H)
    if weight != NULL:
        for j in range(H):
            dweight[j] += <double> dc_new[j] * values[j]
            dbias[j] += dc_new[j]
            dc_new[j] *= weight[j]
        normalise_backward(dc_new, values, scale, H)
    activate_backward(&step.gate, o, d_o, H)


cdef inline void backward_cell(const VariantStep* step, const real* gates, const real* c_before, const real* c_new,
                               const real* kept, real* d, real* dc_new, real* dc, double* sums,
                               Py_ssize_t H) noexcept nogil:
    """From dc, of the new c beside its output, finish dc_new, and write d (4H,) of the gates' sums and dc of c_before.

    kept (H,) is what zoneout passes of dc to c_before directly.
    """
    cdef Py_ssize_t j
    cdef const real* p = <const real*> step.peephole
    cdef const real* i = gates
    cdef const real* f = gates + H
    cdef const real* g = gates + 2 * H
    cdef double* dp = sums + 4 * H
    cdef real limit = <real> step.cell_clip
    for j in range(H):
        dc_new[j] += dc[j]
        if p != NULL:
            dc_new[j] += d[3 * H + j] * p[2 * H + j]
            dp[2 * H + j] += <double> d[3 * H + j] * c_new[j]
    if step.cell_clip < INFINITY:
        for j in range(H):
            dc_new[j] = 0 if abs_(f[j] * c_before[j] + i[j] * g[j]) > limit else dc_new[j]
    for j in range(H):  # c_new = f c_before + i g
        d[j] = dc_new[j] * g[j]
        d[H + j] = dc_new[j] * c_before[j]
        d[2 * H + j] = dc_new[j] * i[j]
        dc[j] = kept[j] + dc_new[j] * f[j]
    if step.coupled:
        for j in range(H):
            d[H + j] -= d[j]
            d[j] = 0
    else:
        activate_backward(&step.gate, i, d, H)
    activate_backward(&step.gate, f, d + H, H)
    activate_backward(&step.candidate, g, d + 2 * H, H)
    if p != NULL:
        for j in range(H):
            dc[j] += d[j] * p[j] + d[H + j] * p[H + j]
            dp[j] += <double> d[j] * c_before[j]
            dp[H + j] += <double> d[H + j] * c_before[j]


cdef void backward_variant_row(const VariantStep* step, real* gates, const real* norms, const real* scales,
                               const real* c_before, const real* dm, real* dc, const unsigned char* mask, double* sums,
                               real* scratch, Py_ssize_t H) noexcept nogil:
    """Take a row's step backward: gates become the gradients of W x + U h, dc that of c_before.

    dm (H,) is the gradient of m. The gradients of the units' own weights are added to sums (SUMS * H,). norms, scales
    and mask are those of the forward step; scratch is (SCRATCH * H,).
    """
    cdef Py_ssize_t j, k
    cdef const real* gain = <const real*> step.gain
    cdef real* d = scratch  # (4H,)
    cdef real* c_new = scratch + 4 * H
    cdef real* values = scratch + 5 * H
    cdef real* shown = scratch + 6 * H
    cdef real* dc_new = scratch + 7 * H
    cdef double* dgain = sums + 7 * H
    cdef real scale = compute_cell_again(step, gates, c_before, c_new, values, shown, H)
    backward_output(step, gates + 3 * H, dm, values, scale, shown, d + 3 * H, dc_new, sums, H)
    # The output's activation isn't needed any more: its memory holds what zoneout passes of dc to c_before.
    zoneout_backward(dc, shown, mask, step.zoneout_c, H)
    backward_cell(step, gates, c_before, c_new, shown, d, dc_new, dc, sums, H)
    for j in range(4 * H):
        sums[j] += d[j]
    if gain != NULL:
        for k in range(step.coupled, 4):
            for j in range(k * H, (k + 1) * H):
                dgain[j] += <double> d[j] * norms[j]
                d[j] *= gain[j]
            normalise_backward(d + k * H, norms + k * H, scales[k], H)
    memcpy(gates, d, 4 * H * sizeof(real))
