"""The loops of the optimisers: one pass over each weight, its gradient and its state.

Every array is flat, C-contiguous and of one dtype, and none overlaps another: weight (n,), grad (n,) read only, and
the state that PyTorch keeps under the same names, each (n,). Elements are independent of each other, so the bits
don't depend on the number of threads, each of which takes one run of elements. Sums are of fixed form.

Where `rows` is given, grad holds only these rows of a matrix (each once), and only they are updated, in weight and
state: then each row is a run.

All arithmetic is in the weight's dtype, the constants too, which come as doubles. Averages that decay towards zero,
as those of words that are seldom seen, are set to zero before they get denormal: they would stay so for ever
(0.9 times a few of the smallest denormals rounds back to the same) and cost some processors a hundred cycles each.
NaN and infinity pass through.
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t
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


cdef struct Runs:
    Py_ssize_t count, n  # runs; elements of grad in all
    const int64_t* rows  # NULL: all of them


cdef inline Runs runs_of(Py_ssize_t n, const int64_t[::1] rows, int num_threads) noexcept:
    cdef Runs runs
    runs.count, runs.n, runs.rows = num_threads, n, NULL
    if rows is not None:
        runs.count = rows.shape[0]
        if runs.count > 0:
            runs.rows = &rows[0]
    return runs


cdef inline Py_ssize_t start_of(Runs runs, Py_ssize_t run) noexcept nogil:
    """Where a run begins in grad, and where run - 1 ends: a thread's share in whole cache lines, or a row."""
    if runs.rows != NULL:
        return runs.n // runs.count * run
    return runs.n if run == runs.count else (runs.n * run // runs.count) & ~<Py_ssize_t>15


cdef inline Py_ssize_t place_of(Runs runs, Py_ssize_t run) noexcept nogil:
    """Where a run begins in weight and state."""
    return start_of(runs, run) if runs.rows == NULL else runs.rows[run] * (runs.n // runs.count)


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
    const int64_t[::1] rows=None,
):
    """One step of SGD; `buffer` is None without momentum."""
    cdef Runs runs = runs_of(grad.shape[0], rows, num_threads)
    cdef Py_ssize_t run, start, size, at
    cdef bint plain = buffer is None
    for run in prange(
        runs.count, nogil=True, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1
    ):
        start, at = start_of(runs, run), place_of(runs, run)
        size = start_of(runs, run + 1) - start
        if plain:
            sgd_run(&weight[at], &grad[start], size, <floating>lr, <floating>weight_decay)
        else:
            sgd_momentum_run(
                &weight[at], &grad[start], &buffer[at], size,
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
    const int64_t[::1] rows=None,
):
    """One step of Adam (shrink = 1) or AdamW (l2 = 0, shrink = 1 - lr * weight_decay)."""
    cdef Runs runs = runs_of(grad.shape[0], rows, num_threads)
    cdef Py_ssize_t run, start, size, at
    for run in prange(
        runs.count, nogil=True, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1
    ):
        start, at = start_of(runs, run), place_of(runs, run)
        size = start_of(runs, run + 1) - start
        adam_run(
            &weight[at], &grad[start], &exp_avg[at], &exp_avg_sq[at], size,
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
    const int64_t[::1] rows=None,
):
    """One step of RMSprop; `buffer` is None without momentum."""
    cdef Runs runs = runs_of(grad.shape[0], rows, num_threads)
    cdef Py_ssize_t run, start, size, at
    cdef bint plain = buffer is None
    for run in prange(
        runs.count, nogil=True, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1
    ):
        start, at = start_of(runs, run), place_of(runs, run)
        size = start_of(runs, run + 1) - start
        if plain:
            rmsprop_run(
                &weight[at], &grad[start], &square_avg[at], size,
                <floating>lr, <floating>alpha, <floating>(1 - alpha), <floating>eps, <floating>weight_decay,
            )
        else:
            rmsprop_momentum_run(
                &weight[at], &grad[start], &square_avg[at], &buffer[at], size,
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
    cdef Runs runs = runs_of(weight.shape[0], None, num_threads)
    cdef Py_ssize_t run, start
    for run in prange(
        num_threads, nogil=True, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1
    ):
        start = start_of(runs, run)
        approach_run(&average[start], &weight[start], start_of(runs, run + 1) - start, <floating>rate)


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
