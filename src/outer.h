/* Sums of outer products over many rows, the shape of every weight gradient: sum over rows of d^T a.
 *
 * The rows are taken in blocks. Of a block, the columns of `a` are copied into contiguous panels of 4 vectors, and the columns of
 * d are read where they are. d has `groups` groups (the gates) of `width` columns, one group every `stride`; it and `a` are the
 * caller's, of any alignment. The columns of d are divided into strips of at most TILE_ROWS, and each thread has some of the
 * strips with their rows of the result. So threads share no sums, and each element is one sum in the order of the rows.
 */
#ifndef CLSTM_OUTER_H
#define CLSTM_OUTER_H

#include "kernels.h"
#include "layout.h"
#include "tile.h"

/* Blocks of more bytes of d than this are copied before they are read: see outer_block. */
#define COPY_BYTES (384 << 10)

typedef struct {
    isize groups, width, stride, d_stride;
    int add;               /* add to the results instead of writing them */
    int whole_vectors;     /* each group has zeros behind its columns, up to a whole vector */
    isize sums_width;      /* columns of a, those of each outer_part padded */
    real *columns, *sums;  /* this thread's block; [groups * width][sums_width], behind it [groups][padded(width)] */
    int far;               /* whether this thread's sums don't fit L2 */
    isize block;           /* rows of a block: more where sums don't fit L2, since each block reads and writes them all */
    isize rows_before;     /* rows in the blocks before the current one; 0: the sums begin with it */
    isize first, last;     /* this thread's strips */
    isize vector0, vector1; /* this thread's vectors of the sum of d itself */
    const real *next;       /* rows of d to prefetch: the first one, */
    isize next_rows, prefetched; /* their number, and how many have been prefetched */
} outer_sum;

/* A part of the sums, over n columns of a, which are behind `offset` others in `columns` and `sums` */
typedef struct {
    real *result; /* [groups * width][n] */
    isize n, offset;
} outer_part;

INLINE isize strips_of_group(const outer_sum *o) { return (o->width + TILE_ROWS - 1) / TILE_ROWS; }

INLINE isize strip_begin(const outer_sum *o, isize strip)
{
    isize strips = strips_of_group(o);
    return strip / strips * o->width + o->width * (strip % strips) / strips;
}

INLINE real *bias_sums(const outer_sum *o) { return o->sums + o->groups * o->width * o->sums_width; }

/* Whether a part is summed in the result itself: its rows are whole vectors, and nothing is to be added to */
INLINE int in_place(const outer_sum *o, const outer_part *part) { return !o->add && part->n % VL == 0; }

static void outer_begin(outer_sum *o, const clstm_team *team)
{
    const isize strips = o->groups * strips_of_group(o), vectors = o->groups * padded(o->width) / VL;
    o->first = strips * team->rank / team->size;
    o->last = strips * (team->rank + 1) / team->size;
    o->vector0 = vectors * team->rank / team->size;
    o->vector1 = vectors * (team->rank + 1) / team->size;
    const isize rows = strip_begin(o, o->last) - strip_begin(o, o->first);
    o->far = rows * o->sums_width * (isize)sizeof(real) > L2_PANEL_BYTES;
    o->block = o->far ? GRADIENT_BLOCK : GRADIENT_BLOCK / 2;
    o->rows_before = 0;
    memset(bias_sums(o) + o->vector0 * VL, 0, (o->vector1 - o->vector0) * VL * sizeof(real));
}

/* Copy one row of n reals into the block's panels, behind `offset` columns, as row k; multiplied by `scale` if that
 * isn't NULL. */
INLINE void outer_column(const outer_sum *o, isize offset, isize k, const real *row, const real *scale, isize n)
{
    real *panels = o->columns + offset * o->block;
    for (isize q = 0; q < product_panels(n); q++) {
        const int vectors = panel_vectors(n, q);
        real *panel = panels + q * o->block * 4 * VL;
        for (int i = 0; i < vectors; i++) {
            const isize column = (q * 4 + i) * VL, have = n - column;
            const vec x = have < VL ? load_part(row + column, have) : load(row + column);
            const vec y = !scale ? x : x * (have < VL ? load_part(scale + column, have) : load(scale + column));
            store(panel + in_panel(vectors, o->block, k, i), y);
        }
    }
}

/* While the current block is added, prefetch this thread's columns of `rows` rows from `next` on. */
INLINE void outer_prefetch(outer_sum *o, const real *next, isize rows)
{
    const isize row = strip_begin(o, o->first);
    o->next = next + row / o->width * o->stride + row % o->width;
    o->next_rows = rows;
    o->prefetched = 0;
}

/* Prefetch the sums of the next tile, to write them. */
INLINE void prefetch_sums(const real *sums, isize sums_width)
{
    for (int r = 0; r < TILE_ROWS; r++)
        for (int line = 0; line < 4 * VECTOR_BYTES / CACHE_LINE; line++)
            __builtin_prefetch((const char *)(sums + r * sums_width) + line * CACHE_LINE, 1, 2);
}

/* Add a block of K rows: d times the panels of one part of a. Where rows of d are wide, and so each in another page,
 * the columns of some strips are copied together first: that brought the product from 127 to 155 GFLOP/s at H = 512.
 * For narrower rows the copy costs more than it gains. */
static void outer_block(outer_sum *o, const outer_part *part, const real *d, isize K)
{
    const isize strips = strips_of_group(o), panels = product_panels(part->n);
    const isize d_stride = o->d_stride, sums_width = in_place(o, part) ? part->n : o->sums_width;
    real *all_sums = in_place(o, part) ? part->result : o->sums + part->offset;
    const int copy = K * d_stride * (isize)sizeof(real) > COPY_BYTES;
    real copied[GRADIENT_BLOCK * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    for (isize strip0 = o->first, strip1; strip0 < o->last; strip0 = strip1) {
        const isize group = strip0 / strips, row0 = strip_begin(o, strip0);
        const real *from = d + group * o->stride + row0 - group * o->width;
        isize stride = d_stride;
        strip1 = smaller((group + 1) * strips, o->last);
        if (copy) {
            while (strip_begin(o, strip1) - row0 > 4 * VL)
                strip1--;
            const isize columns = strip_begin(o, strip1) - row0;
            stride = 4 * VL;
            for (isize k = 0; k < K; k++) {
                isize i = 0;
                for (; i + VL <= columns; i += VL)
                    store(copied + k * stride + i, load(from + k * d_stride + i));
                for (; i < columns; i++)
                    copied[k * stride + i] = from[k * d_stride + i];
            }
            from = copied;
        }
        for (isize q = 0; q < panels; q++) {
            const int N = panel_vectors(part->n, q);
            const real *panel = o->columns + (part->offset + q * 4 * VL) * o->block;
            for (isize strip = strip0; strip < strip1; strip++) {
                const isize row = strip_begin(o, strip), rows = strip_begin(o, strip + 1) - row;
                const real *next = o->prefetched < o->next_rows ? o->next + o->prefetched++ * o->d_stride : panel;
                real *sums = all_sums + row * sums_width + q * 4 * VL;
                for (isize r = 0; r < rows && o->rows_before == 0; r++)
                    memset(sums + r * sums_width, 0, N * VECTOR_BYTES);
                if (o->far)
                    prefetch_sums(strip + 1 < strip1 ? sums + rows * sums_width : all_sums + row0 * sums_width + (q + 1) * 4 * VL,
                                 sums_width);
                const outer_tile t = {from + row - row0, stride, panel, o->block, K, sums, sums_width, (const char *)next};
                OUTER_TILE[rows - 1][N - 1](&t);
            }
        }
    }
}

/* Add the rows of a block themselves: the gradient of the bias. */
static void outer_bias_block(const outer_sum *o, const real *d, isize K)
{
    const isize d_stride = o->d_stride;
    const isize vectors = padded(o->width) / VL;
    for (isize v = o->vector0; v < o->vector1; v++) {
        const isize group = v / vectors, column = v % vectors * VL, left = o->width - column;
        const real *from = d + group * o->stride + column;
        vec sum = load(bias_sums(o) + v * VL);
        if (o->whole_vectors || left >= VL)
            for (isize k = 0; k < K; k++)
                sum += load(from + k * d_stride);
        else
            for (isize k = 0; k < K; k++)
                sum += load_part(from + k * d_stride, left);
        store(bias_sums(o) + v * VL, sum);
    }
}

/* Write n sums to the result, or add them to it. */
INLINE void write_sums(const outer_sum *o, real *result, const real *sums, isize n)
{
    if (!o->add)
        memcpy(result, sums, n * sizeof(real));
    else
        for (isize i = 0; i < n; i++)
            result[i] += sums[i];
}

/* Write this thread's rows of a part to the result, unless they were summed there. */
static void outer_end(const outer_sum *o, const outer_part *part)
{
    const isize n = part->n;
    for (isize row = strip_begin(o, o->first); row < strip_begin(o, o->last); row++)
        if (o->rows_before > 0 && !in_place(o, part))
            write_sums(o, part->result + row * n, o->sums + row * o->sums_width + part->offset, n);
        else if (o->rows_before == 0 && !o->add)
            memset(part->result + row * n, 0, n * sizeof(real));
}

static void outer_bias_end(const outer_sum *o, real *result)
{
    const isize vectors = padded(o->width) / VL;
    for (isize v = o->vector0; v < o->vector1; v++) {
        const isize group = v / vectors, column = v % vectors * VL;
        write_sums(o, result + group * o->width + column, bias_sums(o) + v * VL, smaller(VL, o->width - column));
    }
}

/* gradient = d^T a, and the sums of d: for dense layers */
static void outer_all(const clstm_outer *job, const clstm_team *team)
{
    const isize width = padded(job->K);
    outer_sum sum = {.groups = 1, .width = job->N, .d_stride = job->d_stride, .add = job->add, .sums_width = width, .sums = job->sums,
                     .columns = (real *)job->columns + team->rank * GRADIENT_BLOCK * width};
    const outer_part part = {job->gradient, job->K, 0};
    outer_begin(&sum, team);
    for (isize row0 = 0; row0 < job->rows; row0 += sum.block) {
        const isize K = smaller(sum.block, job->rows - row0);
        const real *d = (const real *)job->d + row0 * job->d_stride;
        for (isize k = 0; k < K; k++)
            outer_column(&sum, 0, k, (const real *)job->a + (row0 + k) * job->a_stride, NULL, job->K);
        outer_prefetch(&sum, d + K * job->d_stride, smaller(sum.block, job->rows - row0 - K));
        outer_block(&sum, &part, d, K);
        outer_bias_block(&sum, d, K);
        sum.rows_before += K;
    }
    outer_end(&sum, &part);
    if (job->bias_gradient)
        outer_bias_end(&sum, job->bias_gradient);
}

#endif
