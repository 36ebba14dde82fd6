/* How the threads of a team divide a walk, and where rows lie.
 *
 * A team is divided into groups. Each group has some of the rows, and groups never wait for each other. The threads of
 * a group divide the panels and wait for each other after every step. With groups of one thread the work is divided by
 * rows alone, with one group by panels alone.
 *
 * Nothing of this is stored: each thread computes its partition from its rank. Walks and the caller's arrays are only read,
 * except by `save_state`.
 */
#ifndef CLSTM_WALK_H
#define CLSTM_WALK_H

#include "kernels.h"
#include "vector.h"

typedef struct {
    clstm_team team; /* of the group's own threads */
    isize index, count;
} group;

/* The group of this thread, of at most `count`. Groups are of different sizes where OpenMP gave fewer threads than
 * planned. */
INLINE group group_of(const clstm_team *team, isize count)
{
    count = smaller(count, team->size);
    const isize index = ((team->rank + 1) * count - 1) / team->size;
    const isize first = index * team->size / count, last = (index + 1) * team->size / count;
    /* counters behind those of the whole team, whose barriers are at other times */
    return (group){{team->rank - first, last - first, team->counters + team->size + first}, index, count};
}

/* A part of the work: sorted rows first, first + step, ... below end, and panels panel0 to panel1 - 1 */
typedef struct {
    isize first, step, end, panel0, panel1;
} partition;

/* Whether rows end at different steps */
INLINE int is_ragged(const clstm_walk *walk) { return walk->positions != walk->steps * walk->rows; }

/* The rows of a ragged batch are interleaved (row b belongs to group b % count), so that rows end at the same rate in
 * all groups. Otherwise each group has a contiguous block: rows of x and y seldom begin at a cache line, and with
 * interleaved rows two threads would write the line that two rows share. */
INLINE partition rows_of_group(const clstm_walk *walk, const group *g)
{
    if (is_ragged(walk))
        return (partition){g->index, g->count, walk->rows, 0, 0};
    return (partition){walk->rows * g->index / g->count, 1, walk->rows * (g->index + 1) / g->count, 0, 0};
}

/* The rows of the group, and this thread's part of its panels */
INLINE partition partition_of(const clstm_walk *walk, const group *g, isize panels)
{
    partition part = rows_of_group(walk, g);
    part.panel0 = panels * g->team.rank / g->team.size;
    part.panel1 = panels * (g->team.rank + 1) / g->team.size;
    return part;
}

/* The rows of the group, divided among its threads: for work that is done once a row */
INLINE partition rows_of_thread(const clstm_walk *walk, const group *g)
{
    partition rows = rows_of_group(walk, g);
    rows.first += rows.step * g->team.rank;
    rows.step *= g->team.size;
    return rows;
}

/* How many of the first `rows` rows are in the partition */
INLINE isize rows_below(const partition *part, isize rows)
{
    rows = smaller(rows, part->end) - part->first;
    if (rows <= 0 || part->step == 1) /* the usual case, without the slow division */
        return rows > 0 ? rows : 0;
    return (rows + part->step - 1) / part->step;
}

/* Panel order: even passes over the panels ascend, odd ones descend, so that those panels which L2 still holds of a set
 * too large for it are used before they are evicted. Return the first of the next Q panels of a pass when `done` panels
 * are done. */
INLINE isize panel_in_order(const partition *part, isize pass, isize done, int Q)
{
    return pass & 1 ? part->panel1 - done - Q : part->panel0 + done;
}

/* How many panels of a pass, from the next one on, are among the first `whole` panels before another one comes */
INLINE isize whole_panels_ahead(const partition *part, isize pass, isize done, isize whole)
{
    const isize first = panel_in_order(part, pass, done, 1);
    if (first >= whole)
        return 0;
    return pass & 1 ? first + 1 - part->panel0 : smaller(part->panel1, whole) - first;
}

/* The j-th row of the partition */
INLINE isize partition_row(const partition *part, isize j) { return part->first + j * part->step; }

/* The i-th of n rows in an order of irregular strides: 0, 2, 1, 3, 4, 6, 5, 7 and so on. A regular stride triggers the
 * hardware prefetcher past our last row, into a line that another thread is about to write. */
INLINE isize irregular_order(isize i, isize n)
{
    const int middle = (i & 3) == 1 || (i & 3) == 2;
    return middle && (i | 3) <= n ? i ^ 3 : i;
}

/* Rows of the next block when `left` rows are left: blocks are of nearly equal size, at most `most` rows */
INLINE isize next_block(isize left, isize most)
{
    const isize blocks = (left + most - 1) / most;
    return (left + blocks - 1) / blocks;
}

/* The index of sorted row b in the partition */
INLINE isize partition_index(const partition *part, isize b) { return (b - part->first) / part->step; }

/* The features of sorted row b at step s in one of the caller's arrays */
INLINE real *features_at(const clstm_sequences *array, isize b, isize s)
{
    return (real *)array->data + array->row[b] + s * array->step;
}

/* Copy row b of a state from the caller's array, (B, H), to a padded row of a state buffer. */
INLINE void load_state(const void *state, const clstm_walk *walk, isize b, isize H, real *row)
{
    memcpy(row, (const real *)state + walk->order[b] * H, H * sizeof(real));
    memset(row + H, 0, (padded(H) - H) * sizeof(real));
}

INLINE void save_state(void *state, const clstm_walk *walk, isize b, isize H, const real *row)
{
    memcpy((real *)state + walk->order[b] * H, row, H * sizeof(real));
}

#endif
