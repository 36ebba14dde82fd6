"""The loops of the optimisers: one pass over each weight, its gradient and its state.

Every array is flat, C-contiguous and of one dtype, and none overlaps another: weight (n,), grad (n,) read only, and
the state that PyTorch keeps under the same names, each (n,). Elements are independent of each other, so the bits
don't depend on the number of threads, each of which takes one run of elements. Sums are of fixed form.

All arithmetic is in the weight's dtype, the constants too, which come as doubles. Averages that decay towards zero,
as those of words that are seldom seen, are set to zero before they get denormal: they would stay so for ever
(0.9 times a few of the smallest denormals rounds back to the same) and cost some processors a hundred cycles each.
NaN and infinity pass through.
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport fabs, sqrt

cdef extern from "<float.h>" nogil:
    const float FLT_MIN
    const double DBL_MIN

cdef extern from "<math.h>" nogil:
    float sqrtf(float)
    float fabsf(float)


cdef inline floating square_root(floating x) noexcept nogil:
    if floating is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef inline floating normal(floating x) noexcept nogil:
    """x, or zero if it is denormal."""
    if floating is float:
        return 0 if fabsf(x) < FLT_MIN else x
    else:
        return 0 if fabs(x) < DBL_MIN else x


cdef inline Py_ssize_t edge(Py_ssize_t n, Py_ssize_t part, Py_ssize_t parts) noexcept nogil:
    """Where part number `part` of n elements begins, in whole cache lines."""
    return n if part == parts else (n * part // parts) & ~<Py_ssize_t>15


# SGD with momentum (Polyak 1964) and Nesterov's form of it as in Sutskever et al. (2013).
#     g = grad + weight_decay * weight
#     buffer = momentum * buffer + g;   weight -= lr * (g + momentum * buffer if nesterov else buffer)

cdef void sgd_run(
    floating* weight, const floating* grad, Py_ssize_t n, floating lr, floating weight_decay
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        weight[i] -= lr * (grad[i] + weight_decay * weight[i])


cdef void sgd_momentum_run(
    floating* weight, const floating* grad, floating* buffer, Py_ssize_t n,
    floating lr, floating momentum, floating nesterov, floating weight_decay,
) noexcept nogil:
    """`nesterov` is the momentum or 0; the plain form then is that of the buffer alone."""
    cdef Py_ssize_t i
    cdef floating g, b
    cdef floating of_g = 1 if nesterov > 0 else 0
    cdef floating of_b = nesterov if nesterov > 0 else 1
    for i in range(n):
        g = grad[i] + weight_decay * weight[i]
        b = normal(momentum * buffer[i] + g)
        buffer[i] = b
        weight[i] -= lr * (of_g * g + of_b * b)


def sgd(
    floating[::1] weight, const floating[::1] grad, floating[::1] buffer,
    double lr, double momentum, bint nesterov, double weight_decay, int num_threads,
):
    """One step of SGD; `buffer` is None without momentum."""
    cdef Py_ssize_t n = weight.shape[0], part, start, stop
    cdef bint plain = buffer is None
    for part in prange(
        num_threads, nogil=True, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1
    ):
        start = edge(n, part, num_threads)
        stop = edge(n, part + 1, num_threads)
        if plain:
            sgd_run(&weight[start], &grad[start], stop - start, <floating>lr, <floating>weight_decay)
        else:
            sgd_momentum_run(
                &weight[start], &grad[start], &buffer[start], stop - start,
                <floating>lr, <floating>momentum, <floating>(momentum if nesterov else 0), <floating>weight_decay,
            )


# Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019).
#     g = grad + l2 * weight;                          weight *= shrink
#     exp_avg += (1 - beta1) * (g - exp_avg);          exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g * g
#     weight -= step_size * exp_avg / (root_scale * sqrt(exp_avg_sq) + eps)
# where step_size = lr / (1 - beta1^t) and root_scale = 1 / sqrt(1 - beta2^t) hold the bias corrections.

cdef void adam_run(
    floating* weight, const floating* grad, floating* exp_avg, floating* exp_avg_sq, Py_ssize_t n,
    floating rate1, floating beta2, floating rate2,
    floating step_size, floating root_scale, floating eps, floating l2, floating shrink,
) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating g, m, v
    for i in range(n):
        g = grad[i] + l2 * weight[i]
        m = normal(exp_avg[i] + rate1 * (g - exp_avg[i]))
        v = normal(beta2 * exp_avg_sq[i] + rate2 * g * g)
        exp_avg[i] = m
        exp_avg_sq[i] = v
        weight[i] = shrink * weight[i] - step_size * m / (root_scale * square_root(v) + eps)


def adam(
    floating[::1] weight, const floating[::1] grad, floating[::1] exp_avg, floating[::1] exp_avg_sq,
    double beta1, double beta2, double step_size, double root_scale, double eps, double l2, double shrink,
    int num_threads,
):
    """One step of Adam (shrink = 1) or AdamW (l2 = 0, shrink = 1 - lr * weight_decay)."""
    cdef Py_ssize_t n = weight.shape[0], part, start, stop
    for part in prange(
        num_threads, nogil=True, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1
    ):
        start = edge(n, part, num_threads)
        stop = edge(n, part + 1, num_threads)
        adam_run(
            &weight[start], &grad[start], &exp_avg[start], &exp_avg_sq[start], stop - start,
            <floating>(1 - beta1), <floating>beta2, <floating>(1 - beta2),
            <floating>step_size, <floating>root_scale, <floating>eps, <floating>l2, <floating>shrink,
        )


# RMSprop (Tieleman & Hinton 2012).
#     g = grad + weight_decay * weight;                square_avg = alpha * square_avg + (1 - alpha) * g * g
#     buffer = momentum * buffer + g / (sqrt(square_avg) + eps);   weight -= lr * buffer

cdef void rmsprop_run(
    floating* weight, const floating* grad, floating* square_avg, Py_ssize_t n,
    floating lr, floating alpha, floating rate, floating eps, floating weight_decay,
) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating g, s
    for i in range(n):
        g = grad[i] + weight_decay * weight[i]
        s = normal(alpha * square_avg[i] + rate * g * g)
        square_avg[i] = s
        weight[i] -= lr * (g / (square_root(s) + eps))


cdef void rmsprop_momentum_run(
    floating* weight, const floating* grad, floating* square_avg, floating* buffer, Py_ssize_t n,
    floating lr, floating alpha, floating rate, floating eps, floating momentum, floating weight_decay,
) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating g, s, b
    for i in range(n):
        g = grad[i] + weight_decay * weight[i]
        s = normal(alpha * square_avg[i] + rate * g * g)
        b = normal(momentum * buffer[i] + g / (square_root(s) + eps))
        square_avg[i] = s
        buffer[i] = b
        weight[i] -= lr * b


def rmsprop(
    floating[::1] weight, const floating[::1] grad, floating[::1] square_avg, floating[::1] buffer,
    double lr, double alpha, double eps, double momentum, double weight_decay, int num_threads,
):
    """One step of RMSprop; `buffer` is None without momentum."""
    cdef Py_ssize_t n = weight.shape[0], part, start, stop
    cdef bint plain = buffer is None
    for part in prange(
        num_threads, nogil=True, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1
    ):
        start = edge(n, part, num_threads)
        stop = edge(n, part + 1, num_threads)
        if plain:
            rmsprop_run(
                &weight[start], &grad[start], &square_avg[start], stop - start,
                <floating>lr, <floating>alpha, <floating>(1 - alpha), <floating>eps, <floating>weight_decay,
            )
        else:
            rmsprop_momentum_run(
                &weight[start], &grad[start], &square_avg[start], &buffer[start], stop - start,
                <floating>lr, <floating>alpha, <floating>(1 - alpha), <floating>eps,
                <floating>momentum, <floating>weight_decay,
            )


# An average of weights, as it moves towards the present ones.

cdef void approach_run(floating* average, const floating* weight, Py_ssize_t n, floating rate) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        average[i] += rate * (weight[i] - average[i])


def approach(floating[::1] average, const floating[::1] weight, double rate, int num_threads):
    """average += rate * (weight - average)."""
    cdef Py_ssize_t n = weight.shape[0], part, start, stop
    for part in prange(
        num_threads, nogil=True, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1
    ):
        start = edge(n, part, num_threads)
        stop = edge(n, part + 1, num_threads)
        approach_run(&average[start], &weight[start], stop - start, <floating>rate)


def sum_of_squares(const floating[::1] x):
    """Return the sum in float64, over eight sums that each take every eighth element: vectors of any width fit."""
    cdef Py_ssize_t n = x.shape[0], whole = n - n % 8, i
    cdef int j
    cdef double sums[8]
    cdef double value
    with nogil:
        for j in range(8):
            sums[j] = 0
        for i in range(0, whole, 8):
            for j in range(8):
                value = x[i + j]
                sums[j] += value * value
        for i in range(whole, n):
            value = x[i]
            sums[i - whole] += value * value
        value = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
    return value
