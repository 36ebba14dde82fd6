"""The loops of the optimisers: one pass over each weight, its gradient and its state.

Every array is flat, C-contiguous and of one dtype, and none overlaps another: weight (n,), grad (n,) which is only
read, and the state that PyTorch keeps under the same names, each (n,). Elements are independent of each other, so the
bits don't depend on the number of threads, each of which takes one run of elements. Sums are always of the same form.

Where `rows` is given, grad holds only these rows of a matrix (each once), and only they are updated, in weight and
state: then each row is a run.

All arithmetic is in the weight's dtype, the constants too, which come as doubles. Averages that decay towards zero,
such as those of words that are seldom seen, are set to zero before they become denormal: they would stay denormal for
ever (0.9 times a few of the smallest denormals rounds back to the same) and cost some processors a hundred cycles each.
NaN and infinity pass through.
"""

cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.math cimport fabs, sqrt

from clstm._core.arrays cimport dense, dense_writable, is_single

cnp.import_array()

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
    Py_ssize_t count, n  # number of runs, number of elements of grad
    const int64_t* rows  # the row that each run is, NULL where runs are parts of the whole weight


cdef Runs runs_of(cnp.ndarray grad, cnp.ndarray rows, int num_threads) except *:
    cdef Runs runs
    runs.count, runs.n, runs.rows = num_threads, grad.shape[0], NULL
    if rows is not None:
        runs.count, runs.rows = rows.shape[0], <const int64_t*> dense(rows, cnp.NPY_INT64, 1)
    return runs


cdef inline Py_ssize_t start_of(Runs runs, Py_ssize_t run) noexcept nogil:
    """Where a run begins in grad, and the run before it ends: a row, or a thread's part in whole cache lines."""
    if runs.rows != NULL:
        return runs.n // runs.count * run
    return runs.n if run == runs.count else (runs.n * run // runs.count) & ~<Py_ssize_t>15


cdef inline Py_ssize_t place_of(Runs runs, Py_ssize_t run) noexcept nogil:
    """Where a run begins in weight and state."""
    return start_of(runs, run) if runs.rows == NULL else runs.rows[run] * (runs.n // runs.count)


cdef inline void* writable(cnp.ndarray array, cnp.ndarray weight) except? NULL:
    """The elements of a flat array of the weight's dtype, NULL for None."""
    return NULL if array is None else dense_writable(array, cnp.PyArray_TYPE(weight), 1)


cdef inline const void* readable(cnp.ndarray array, cnp.ndarray weight) except? NULL:
    return dense(array, cnp.PyArray_TYPE(weight), 1)


# SGD with momentum (Polyak 1964), or Nesterov's form of momentum as in Sutskever et al. (2013).
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
    """`nesterov` is the momentum, or 0 for the plain form, which steps along the buffer alone."""
    cdef Py_ssize_t i
    cdef floating g, b
    cdef floating of_g = 1 if nesterov > 0 else 0
    cdef floating of_b = nesterov if nesterov > 0 else 1
    for i in range(n):
        g = grad[i] + weight_decay * weight[i]
        b = normal(momentum * buffer[i] + g)
        buffer[i] = b
        weight[i] -= lr * (of_g * g + of_b * b)


cdef void sgd_runs(
    floating* weight, const floating* grad, floating* buffer, Runs runs, int num_threads,
    double lr, double momentum, bint nesterov, double weight_decay,
) noexcept nogil:
    cdef Py_ssize_t run, start, size, at
    for run in prange(runs.count, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1):
        start, at = start_of(runs, run), place_of(runs, run)
        size = start_of(runs, run + 1) - start
        if buffer == NULL:
            sgd_run(weight + at, grad + start, size, <floating>lr, <floating>weight_decay)
        else:
            sgd_momentum_run(
                weight + at, grad + start, buffer + at, size,
                <floating>lr, <floating>momentum, <floating>(momentum if nesterov else 0), <floating>weight_decay,
            )


def sgd(
    cnp.ndarray weight, cnp.ndarray grad, cnp.ndarray buffer,
    double lr, double momentum, bint nesterov, double weight_decay, int num_threads, cnp.ndarray rows=None,
) -> None:
    """Take one step of SGD; `buffer` is None without momentum."""
    cdef bint single = is_single(weight)
    cdef Runs runs = runs_of(grad, rows, num_threads)
    cdef void* w = writable(weight, weight)
    cdef void* b = writable(buffer, weight)
    cdef const void* g = readable(grad, weight)
    with nogil:
        if single:
            sgd_runs(<float*>w, <const float*>g, <float*>b, runs, num_threads, lr, momentum, nesterov, weight_decay)
        else:
            sgd_runs(<double*>w, <const double*>g, <double*>b, runs, num_threads, lr, momentum, nesterov, weight_decay)


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


cdef void adam_runs(
    floating* weight, const floating* grad, floating* exp_avg, floating* exp_avg_sq, Runs runs, int num_threads,
    double beta1, double beta2, double step_size, double root_scale, double eps, double l2, double shrink,
) noexcept nogil:
    cdef Py_ssize_t run, start, size, at
    for run in prange(runs.count, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1):
        start, at = start_of(runs, run), place_of(runs, run)
        size = start_of(runs, run + 1) - start
        adam_run(
            weight + at, grad + start, exp_avg + at, exp_avg_sq + at, size,
            <floating>(1 - beta1), <floating>beta2, <floating>(1 - beta2),
            <floating>step_size, <floating>root_scale, <floating>eps, <floating>l2, <floating>shrink,
        )


def adam(
    cnp.ndarray weight, cnp.ndarray grad, cnp.ndarray exp_avg, cnp.ndarray exp_avg_sq,
    double beta1, double beta2, double step_size, double root_scale, double eps, double l2, double shrink,
    int num_threads, cnp.ndarray rows=None,
) -> None:
    """Take one step of Adam (shrink = 1) or AdamW (l2 = 0, shrink = 1 - lr * weight_decay)."""
    cdef bint single = is_single(weight)
    cdef Runs runs = runs_of(grad, rows, num_threads)
    cdef void* w = writable(weight, weight)
    cdef void* m = writable(exp_avg, weight)
    cdef void* v = writable(exp_avg_sq, weight)
    cdef const void* g = readable(grad, weight)
    with nogil:
        if single:
            adam_runs(<float*>w, <const float*>g, <float*>m, <float*>v, runs, num_threads,
                      beta1, beta2, step_size, root_scale, eps, l2, shrink)
        else:
            adam_runs(<double*>w, <const double*>g, <double*>m, <double*>v, runs, num_threads,
                      beta1, beta2, step_size, root_scale, eps, l2, shrink)


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


cdef void rmsprop_runs(
    floating* weight, const floating* grad, floating* square_avg, floating* buffer, Runs runs, int num_threads,
    double lr, double alpha, double eps, double momentum, double weight_decay,
) noexcept nogil:
    cdef Py_ssize_t run, start, size, at
    for run in prange(runs.count, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1):
        start, at = start_of(runs, run), place_of(runs, run)
        size = start_of(runs, run + 1) - start
        if buffer == NULL:
            rmsprop_run(
                weight + at, grad + start, square_avg + at, size,
                <floating>lr, <floating>alpha, <floating>(1 - alpha), <floating>eps, <floating>weight_decay,
            )
        else:
            rmsprop_momentum_run(
                weight + at, grad + start, square_avg + at, buffer + at, size,
                <floating>lr, <floating>alpha, <floating>(1 - alpha), <floating>eps,
                <floating>momentum, <floating>weight_decay,
            )


def rmsprop(
    cnp.ndarray weight, cnp.ndarray grad, cnp.ndarray square_avg, cnp.ndarray buffer,
    double lr, double alpha, double eps, double momentum, double weight_decay, int num_threads, cnp.ndarray rows=None,
) -> None:
    """Take one step of RMSprop; `buffer` is None without momentum."""
    cdef bint single = is_single(weight)
    cdef Runs runs = runs_of(grad, rows, num_threads)
    cdef void* w = writable(weight, weight)
    cdef void* s = writable(square_avg, weight)
    cdef void* b = writable(buffer, weight)
    cdef const void* g = readable(grad, weight)
    with nogil:
        if single:
            rmsprop_runs(<float*>w, <const float*>g, <float*>s, <float*>b, runs, num_threads,
                         lr, alpha, eps, momentum, weight_decay)
        else:
            rmsprop_runs(<double*>w, <const double*>g, <double*>s, <double*>b, runs, num_threads,
                         lr, alpha, eps, momentum, weight_decay)


# A moving average of weights, which takes a step towards their present values.

cdef void approach_run(floating* average, const floating* weight, Py_ssize_t n, floating rate) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        average[i] += rate * (weight[i] - average[i])


cdef void approach_runs(
    floating* average, const floating* weight, Runs runs, double rate, int num_threads
) noexcept nogil:
    cdef Py_ssize_t run, start
    for run in prange(runs.count, schedule="static", num_threads=num_threads, use_threads_if=num_threads > 1):
        start = start_of(runs, run)
        approach_run(average + start, weight + start, start_of(runs, run + 1) - start, <floating>rate)


def approach(cnp.ndarray average, cnp.ndarray weight, double rate, int num_threads) -> None:
    """Compute average += rate * (weight - average)."""
    cdef bint single = is_single(weight)
    cdef Runs runs = runs_of(weight, None, num_threads)
    cdef void* a = writable(average, weight)
    cdef const void* w = readable(weight, weight)
    with nogil:
        if single:
            approach_runs(<float*>a, <const float*>w, runs, rate, num_threads)
        else:
            approach_runs(<double*>a, <const double*>w, runs, rate, num_threads)


# The norm of gradients.

cdef double squares(const floating* x, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t whole = n - n % 8, i
    cdef int j
    cdef double sums[8]
    cdef double value
    for j in range(8):
        sums[j] = 0
    for i in range(0, whole, 8):
        for j in range(8):
            value = x[i + j]
            sums[j] += value * value
    for i in range(whole, n):
        value = x[i]
        sums[i - whole] += value * value
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))


def sum_of_squares(cnp.ndarray x) -> float:
    """Return the sum in float64, of eight sums that take every eighth element each: vectors of any width fit."""
    cdef bint single = is_single(x)
    cdef const void* elements = readable(x, x)
    cdef Py_ssize_t n = x.shape[0]
    cdef double total
    with nogil:
        total = squares(<const float*>elements, n) if single else squares(<const double*>elements, n)
    return total
