"""Declarations of src/kernels.h and src/team.h; the layouts are described there."""

from libc.stdint cimport uint64_t

cdef extern from "team.h" nogil:
    int CLSTM_OPENMP
    int clstm_thread()
    int clstm_threads()
    ctypedef struct clstm_counter:
        unsigned arrived
    ctypedef struct clstm_team:
        Py_ssize_t rank, size
        clstm_counter *counters

cdef extern from "kernels.h" nogil:
    ctypedef struct clstm_walk:
        Py_ssize_t steps, rows, positions
        const Py_ssize_t *active
        const Py_ssize_t *start
        const Py_ssize_t *length
        const Py_ssize_t *order

    ctypedef struct clstm_sequences:
        void *data
        const Py_ssize_t *row
        Py_ssize_t step

    ctypedef struct clstm_activation:
        int code
        double alpha, beta

    ctypedef struct clstm_variant:
        bint coupled
        double cell_clip, gate_clip
        clstm_activation gate, candidate, output
        const void *peephole
        const void *gate_gain
        const void *gate_shift
        const void *cell_gain
        const void *cell_shift
        const void *R
        const void *Rb

    ctypedef struct clstm_variant_call:
        const clstm_variant *variant
        const void *h_dropout_mask
        clstm_sequences h_zoneout_mask, c_zoneout_mask
        double h_zoneout, c_zoneout
        void *preactivations
        void *stage_results
        void *normed
        void *statistics
        void *m
        void *dh
        void *unit_parameter_sums
        void *dR
        void *dpeephole
        void *dgate_gain
        void *dgate_shift
        void *dcell_gain
        void *dcell_shift

    ctypedef struct clstm_forward:
        const clstm_walk *walk
        Py_ssize_t I, H, P
        const clstm_variant_call *variant_call
        const void *W
        const void *U
        const void *bias
        clstm_sequences x, y
        Py_ssize_t y_steps, first, last
        const void *h0
        const void *c0
        void *hn
        void *cn
        void *h
        void *c
        Py_ssize_t h_buffer_stride
        void *gates
        void *cell_states
        void *projected
        Py_ssize_t chunk, row_groups

    ctypedef struct clstm_step:
        clstm_forward *layers
        Py_ssize_t count, parity

    ctypedef struct clstm_backward:
        const clstm_walk *walk
        Py_ssize_t I, H, P
        const clstm_variant_call *variant_call
        const void *Ub
        const void *Wb
        clstm_sequences x, y, dy, dx
        int add_dx
        const void *h0
        const void *dhn
        const void *dcn
        void *dh0
        void *dc0
        void *dh
        void *dc
        const void *c
        void *gates
        const void *cell_states
        void *dW
        void *dU
        void *db
        int add
        void *columns
        void *sums
        Py_ssize_t row_groups

    ctypedef struct clstm_product:
        Py_ssize_t rows, K, N
        const void *a
        Py_ssize_t a_stride
        const void *panels
        const void *bias
        void *out
        Py_ssize_t out_stride

    ctypedef struct clstm_outer:
        Py_ssize_t rows, N, K
        const void *d
        const void *a
        Py_ssize_t d_stride, a_stride
        void *gradient
        void *bias_gradient
        void *columns
        void *sums
        int add

    ctypedef struct clstm_kernels:
        const char *name
        Py_ssize_t vector_length, item_size, gradient_block, tile_rows
        Py_ssize_t (*padded)(Py_ssize_t n) noexcept nogil
        Py_ssize_t (*state_stride)(Py_ssize_t H) noexcept nogil
        Py_ssize_t (*gates_stride)(Py_ssize_t H) noexcept nogil
        Py_ssize_t (*states_size)(Py_ssize_t B, Py_ssize_t H, Py_ssize_t groups) noexcept nogil
        Py_ssize_t (*columns_width)(Py_ssize_t I, Py_ssize_t P) noexcept nogil
        Py_ssize_t (*unit_parameters)(const clstm_variant *variant) noexcept nogil
        Py_ssize_t statistics_per_position
        void (*pack_forward)(const void *weight, Py_ssize_t H, Py_ssize_t K, void *panels, Py_ssize_t first,
                             Py_ssize_t last) noexcept nogil
        void (*pack_bias)(const void *bias, Py_ssize_t H, void *packed) noexcept nogil
        void (*pack_units)(const void *values, Py_ssize_t parts, Py_ssize_t H, void *packed) noexcept nogil
        void (*repack_backward)(const void *forward, Py_ssize_t H, Py_ssize_t K, void *panels, Py_ssize_t first,
                                Py_ssize_t last) noexcept nogil
        void (*pack_product)(const void *matrix, Py_ssize_t K, Py_ssize_t N, Py_ssize_t k_stride,
                             Py_ssize_t n_stride, void *panels) noexcept nogil
        void (*forward)(const clstm_forward *job, clstm_team team) noexcept nogil
        void (*step)(const clstm_step *job, clstm_team team) noexcept nogil
        void (*backward)(const clstm_backward *job, clstm_team team) noexcept nogil
        void (*input_gradient)(const clstm_backward *job, clstm_team team) noexcept nogil
        void (*product)(const clstm_product *job, clstm_team team) noexcept nogil
        void (*outer)(const clstm_outer *job, clstm_team team) noexcept nogil
        void (*wait)(const clstm_team *team) noexcept nogil
        void (*activate)(int which, const void *x, void *y, Py_ssize_t n) noexcept nogil
        Py_ssize_t (*multiply_add)(Py_ssize_t rounds, void *sum) noexcept nogil
        uint64_t (*read_memory)(const void *data, Py_ssize_t bytes, int streams, Py_ssize_t repeats) noexcept nogil

    const clstm_kernels *clstm_kernels_for(const char *isa, Py_ssize_t item_size)
