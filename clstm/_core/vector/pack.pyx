"""The weights of the vector path: snapshots laid out for the kernels (src/pack.h)."""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport prange

from clstm._core.vector cimport kernels as c
from clstm._core.vector.runtime cimport Arena, kernels_of

cnp.import_array()

# Weights that a variant has only with the option that they belong to
OPTIONAL = ("weight_hr", "weight_peephole", "weight_norm_gates", "weight_norm_cell", "bias_norm_cell")


cdef class Packed:
    """The weights of one direction as panels; immutable, so that any number of calls may share them."""

    cdef int prepare_backward(self, bint need_input, int num_threads) except -1:
        if self.Ub == NULL:
            self.hidden_arena = Arena()
            self.Ub = self.product_panels(self.hidden_arena, self.U, self.P, num_threads)
        if need_input and self.Wb == NULL:
            self.input_arena = Arena()
            self.Wb = self.product_panels(self.input_arena, self.W, self.I, num_threads)
        return 0

    cdef void *product_panels(self, Arena arena, const void *panels, Py_ssize_t K, int num_threads) except NULL:
        cdef const c.clstm_kernels *kernels = self.kernels
        cdef Py_ssize_t H = self.H, size = arena.plan(4 * H * kernels.padded(K), kernels.item_size), q
        arena.allocate()
        cdef void *product = arena.take(size, kernels.item_size)
        cdef Py_ssize_t width = 4 * kernels.vector_length, count = (K + width - 1) // width
        cdef int threads = pack_threads(4 * H * K, num_threads)
        if threads == 1:
            kernels.repack_backward(panels, H, K, product, 0, count)
        else:
            for q in prange(count, nogil=True, num_threads=threads, schedule="static"):
                kernels.repack_backward(panels, H, K, product, q, q + 1)
        return product


cdef int pack_threads(Py_ssize_t size, int num_threads) noexcept:
    """Return how many threads to pack a matrix of `size` numbers with."""
    return num_threads if size >= 1 << 18 else 1


def pack(variant, weights, int num_threads) -> Packed:
    """Return a snapshot of one direction's weights; see `clstm._core.backend.Path`."""
    if variant.plain:
        return pack_plain(weights["weight_ih"], weights["weight_hh"], weights["bias"], num_threads)
    return pack_variant(variant, weights, num_threads)


cdef Packed pack_plain(cnp.ndarray weight_ih, cnp.ndarray weight_hh, cnp.ndarray bias, int num_threads):
    """Pack weight_ih (4H, I), weight_hh (4H, P) and bias (4H,)."""
    cdef const c.clstm_kernels *kernels = kernels_of(weight_ih)
    cdef Py_ssize_t item = kernels.item_size, I = weight_ih.shape[1], H = weight_hh.shape[0] // 4, p
    cdef Py_ssize_t P = weight_hh.shape[1], Hp = kernels.padded(H), count = Hp // kernels.vector_length
    cdef Packed packed = Packed()
    cdef Arena arena = Arena()
    packed.kernels, packed.I, packed.H, packed.P, packed.plain = kernels, I, H, P, True
    packed.forward_arena = arena
    arena.plan(4 * Hp * I, item)
    arena.plan(4 * Hp * P, item)
    arena.plan(4 * Hp, item)
    arena.allocate()
    packed.W = arena.take(4 * Hp * I, item)
    packed.U = arena.take(4 * Hp * P, item)
    packed.bias = arena.take(4 * Hp, item)
    cdef const void *w_ih = cnp.PyArray_DATA(weight_ih)
    cdef const void *w_hh = cnp.PyArray_DATA(weight_hh)
    kernels.pack_bias(cnp.PyArray_DATA(bias), H, packed.bias)
    cdef void *W = packed.W
    cdef void *U = packed.U
    cdef int threads = pack_threads(4 * H * (I + P), num_threads)
    if threads == 1:
        kernels.pack_forward(w_ih, H, I, W, 0, count)
        kernels.pack_forward(w_hh, H, P, U, 0, count)
    else:
        for p in prange(count, nogil=True, num_threads=threads, schedule="static"):
            kernels.pack_forward(w_ih, H, I, W, p, p + 1)
            kernels.pack_forward(w_hh, H, P, U, p, p + 1)
    return packed


cdef Packed pack_variant(variant, weights, int num_threads):
    """Pack the weights of a variant that isn't plain: those of the plain LSTM, and all that its options add."""
    cdef cnp.ndarray bias = weights["bias"]
    cdef bint layer_norm = variant.layer_norm
    weight_hr, peephole, norm_gates, norm_cell, norm_cell_bias = map(weights.get, OPTIONAL)
    # With layer norm the bias is added after normalising, as the gates' shift.
    cdef Packed packed = pack_plain(weights["weight_ih"], weights["weight_hh"],
                                    np.zeros_like(bias) if layer_norm else bias, num_threads)
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t item = kernels.item_size, H = packed.H, P = packed.P, Hp = kernels.padded(H)
    cdef Py_ssize_t product = H * kernels.padded(P), product_backward = P * Hp
    cdef Arena arena = Arena()
    packed.plain, packed.variant_arena = False, arena
    packed.h_zoneout, packed.c_zoneout = variant.zoneout
    packed.variant.coupled = variant.coupled
    packed.variant.cell_clip, packed.variant.gate_clip = variant.cell_clip, variant.gate_clip
    packed.variant.gate, packed.variant.candidate, packed.variant.output = (activation_of(given) for given in variant.activations)
    for gates in (3, 4, 4, 1, 1):
        arena.plan(gates * Hp, item)
    if weight_hr is not None:
        arena.plan(product, item)
        arena.plan(product_backward, item)
    arena.allocate()
    cdef void *panels
    if peephole is not None:
        packed.variant.peephole = units_of(kernels, arena, peephole, 3, H)
    if layer_norm:
        packed.variant.gate_gain = units_of(kernels, arena, norm_gates, 4, H)
        packed.variant.gate_shift = units_of(kernels, arena, bias, 4, H)
        packed.variant.cell_gain = units_of(kernels, arena, norm_cell, 1, H)
        packed.variant.cell_shift = units_of(kernels, arena, np.zeros_like(norm_cell) if norm_cell_bias is None
                                          else norm_cell_bias, 1, H)
    if weight_hr is not None:
        panels = arena.take(product, item)
        kernels.pack_product(cnp.PyArray_DATA(weight_hr), H, P, 1, H, panels)
        packed.variant.R = panels
        panels = arena.take(product_backward, item)
        kernels.pack_product(cnp.PyArray_DATA(weight_hr), P, H, H, 1, panels)
        packed.variant.Rb = panels
    return packed


cdef c.clstm_activation activation_of(tuple given) except *:
    cdef c.clstm_activation activation
    activation.code, activation.alpha, activation.beta = given
    return activation


cdef const void *units_of(const c.clstm_kernels *kernels, Arena arena, cnp.ndarray values, Py_ssize_t parts,
                          Py_ssize_t H) noexcept:
    """Pack per-unit parameters, (parts * H,), with zeros behind each part."""
    cdef void *units = arena.take(parts * kernels.padded(H), kernels.item_size)
    kernels.pack_units(cnp.PyArray_DATA(values), parts, H, units)
    return units


cdef bint alike(packs) except -1:
    """Return whether all layers have no options and the same width."""
    cdef Packed packed
    for packed in packs:
        if not packed.plain or packed.H != (<Packed>packs[0]).H:
            return False
    return True
