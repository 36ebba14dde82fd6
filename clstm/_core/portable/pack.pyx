"""The weights of the portable path: copies in their own layout, for BLAS does its packing itself."""

from libc.limits cimport INT_MAX

import numpy as np

cimport numpy as cnp

from clstm._core.portable.variant cimport fill_activation

cnp.import_array()


def pack(variant, weights, int num_threads):
    """Return a snapshot of one direction's weights; see `clstm._core.backend.Path`."""
    return Packed(variant, weights)


class Packed:
    """A snapshot of one direction's weights.

    Attributes
    ----------
    weight_ih, weight_hh, bias : ndarray
        bias is what the sums of the gates begin with: zeros where they are normalised, which adds the bias afterwards.
    variant : VariantWeights or None
        What the variant adds to the plain LSTM; None for that.
    """

    def __init__(self, variant, weights):
        if max(weights["weight_ih"].shape) > INT_MAX:
            raise ValueError(f"weight_ih has shape {weights['weight_ih'].shape}, beyond the 32-bit sizes of BLAS")
        self.weight_ih, self.weight_hh, self.bias = (
            np.array(weights[name], order="C") for name in ("weight_ih", "weight_hh", "bias")
        )
        self.variant = None if variant.plain else VariantWeights(variant, weights)
        if variant.layer_norm:
            self.bias = np.zeros_like(self.bias)

    @property
    def hidden_size(self):
        return len(self.weight_ih) // 4


cdef class VariantWeights:
    """What a variant adds to the plain LSTM: its options, and copies of the weights that belong to them."""

    def __init__(self, variant, weights):
        given = [weights.get(name) for name in ("weight_hr", "weight_peephole", "weight_norm_gates")]
        given.append(weights["bias"] if variant.layer_norm else None)
        given += [weights.get(name) for name in ("weight_norm_cell", "bias_norm_cell")]
        self.arrays = tuple(None if array is None else np.array(array, order="C") for array in given)
        self.weight_hr, peephole, gain, shift, norm_cell, norm_cell_bias = self.arrays
        self.step.peephole, self.step.gain, self.step.shift = address(peephole), address(gain), address(shift)
        self.step.norm_cell, self.step.norm_cell_bias = address(norm_cell), address(norm_cell_bias)
        self.step.coupled, self.step.cell_clip = variant.coupled, variant.cell_clip
        self.step.zoneout_h, self.step.zoneout_c = variant.zoneout
        cdef bint single = weights["bias"].dtype.itemsize == 4
        fill_activation(&self.step.gate, variant.activations[0], variant.gate_clip, single)
        fill_activation(&self.step.candidate, variant.activations[1], variant.gate_clip, single)
        fill_activation(&self.step.output, variant.activations[2], np.inf, single)


cdef Weights weights_of(packed):
    """Return where the weights of a Packed, which the caller holds, are."""
    cdef Weights weights
    weights.inputs, weights.outputs = packed.weight_ih.shape[1], packed.weight_hh.shape[1]
    weights.units = packed.hidden_size
    weights.weight_ih, weights.weight_hh = address(packed.weight_ih), address(packed.weight_hh)
    weights.bias = address(packed.bias)
    return weights


cdef void* address(array) noexcept:
    """Return where the elements of an ndarray are, NULL for None."""
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray> array)
