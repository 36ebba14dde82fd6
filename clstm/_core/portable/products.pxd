"""Matrix products of any size by SciPy's BLAS, on the thread that calls."""

from clstm._core.portable cimport blas

from clstm._core.portable.variant cimport real

cdef enum:
    PRODUCT = 1 << 18  # multiply-adds in one call of BLAS: up to there OpenBLAS stays on the thread that calls it


cdef inline void blas_gemm(char* trans_a, char* trans_b, int m, int n, int k, const real* a, int lda, const real* b,
                           int ldb, real beta, real* c, int ldc) noexcept nogil:
    cdef real one = 1
    if real is float:
        blas.sgemm(trans_a, trans_b, &m, &n, &k, &one, <real*> a, &lda, <real*> b, &ldb, &beta, c, &ldc)
    else:
        blas.dgemm(trans_a, trans_b, &m, &n, &k, &one, <real*> a, &lda, <real*> b, &ldb, &beta, c, &ldc)


cdef inline Py_ssize_t halved(Py_ssize_t size) noexcept nogil:
    return (size // 2 + 15) // 16 * 16  # a multiple of BLAS's tiles


cdef inline void gemm(bint at, bint bt, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const real* a, Py_ssize_t lda, const real* b,
               Py_ssize_t ldb, real beta, real* c, Py_ssize_t ldc) noexcept nogil:
    """c (m, n) = a b + beta c, row-major, with a (m, k), or (k, m) if at; b (k, n), or (n, k) if bt.

    The longest side is halved until a product is so small that BLAS doesn't start threads, which would compete with
    ours for the processors. That also keeps all sizes within the 32 bits of BLAS.
    """
    cdef Py_ssize_t half
    if m * n * k <= PRODUCT:
        # BLAS is column-major: it sees all matrices transposed, and c^T = b^T a^T
        blas_gemm("T" if bt else "N", "T" if at else "N", <int> n, <int> m, <int> k, b, <int> ldb, a, <int> lda, beta,
                  c, <int> ldc)
    elif n >= m and n >= k:
        half = halved(n)
        gemm(at, bt, m, half, k, a, lda, b, ldb, beta, c, ldc)
        gemm(at, bt, m, n - half, k, a, lda, b + half * (ldb if bt else 1), ldb, beta, c + half, ldc)
    elif k >= m:
        half = halved(k)
        gemm(at, bt, m, n, half, a, lda, b, ldb, beta, c, ldc)
        gemm(at, bt, m, n, k - half, a + half * (lda if at else 1), lda, b + half * (1 if bt else ldb), ldb, <real> 1,
             c, ldc)
    else:
        half = halved(m)
        gemm(at, bt, half, n, k, a, lda, b, ldb, beta, c, ldc)
        gemm(at, bt, m - half, n, k, a + half * (1 if at else lda), lda, b, ldb, beta, c + half * ldc, ldc)
