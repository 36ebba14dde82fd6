/* A thread's partition of a walk, and where rows lie.
 *
 * A team is cut into groups. Groups deal the rows out and never wait for each other; the threads of a group partition the
 * panels out and wait for each other after every step. By rows alone: groups of one thread. By panels alone: one group.
 */
#ifndef CLSTM_WALK_H
#define CLSTM_WALK_H

#include "kernels.h"
#include "vector.h"

typedef struct {
    clstm_team team; /* of the group's own threads */
    isize index, count;
} group;

/* The group of this thread, of at most `count`. A team that OpenMP made smaller than was prefetched for has irregular_order groups. */
INLINE group group_of(const clstm_team *team, isize count)
{
    count = smaller(count, team->size);
    const isize index = ((team->rank + 1) * count - 1) / team->size;
    const isize first = index * team->size / count, last = (index + 1) * team->size / count;
    /* behind the counters of the whole team, which waits at other times */
    return (group){{team->rank - first, last - first, team->counters + team->size + first}, index, count};
}

/* Sorted rows first, first + step, ... below end and panels panel0 to panel1 - 1. */
typedef struct {
    isize first, step, end, panel0, panel1;
} partition;

/* Whether rows end at different steps */
INLINE int is_ragged(const clstm_walk *walk) { return walk->positions != walk->steps * walk->rows; }

/* Rows of a ragged batch are dealt out in turn, so that threads stay even while rows end. Others in a block for each group,
 * since rows of x and y seldom begin with a line of cache: two threads would write the line that two rows partition. */
INLINE partition rows_of_group(const clstm_walk *walk, const group *g)
{
    if (is_ragged(walk))
        return (partition){g->index, g->count, walk->rows, 0, 0};
    return (partition){walk->rows * g->index / g->count, 1, walk->rows * (g->index + 1) / g->count, 0, 0};
}

/* The rows of the group, and this thread's of the panels */
INLINE partition partition_of(const clstm_walk *walk, const group *g, isize panels)
{
    partition part = rows_of_group(walk, g);
    part.panel0 = panels * g->team.rank / g->team.size;
    part.panel1 = panels * (g->team.rank + 1) / g->team.size;
    return part;
}

/* Every row to one thread of the group whose rows they are */
INLINE partition rows_of_thread(const clstm_walk *walk, const group *g)
{
    partition rows = rows_of_group(walk, g);
    rows.first += rows.step * g->team.rank;
    rows.step *= g->team.size;
    return rows;
}

/* Rows of the partition among the first `rows` */
INLINE isize rows_below(const partition *part, isize rows)
{
    rows = smaller(rows, part->end) - part->first;
    if (rows <= 0 || part->step == 1) /* mostly; and a division takes long */
        return rows > 0 ? rows : 0;
    return (rows + part->step - 1) / part->step;
}

/* The first of the next Q panels in turn, when `done` of the partition's are done: from the first panel on at one pass, from the
 * last one back at the next, so that what L2 holds of panels that don't fit there is used again before it goes. */
INLINE isize panel_in_order(const partition *part, isize pass, isize done, int Q)
{
    return pass & 1 ? part->panel1 - done - Q : part->panel0 + done;
}

/* How many panels from the next in turn on are among the first `whole` */
INLINE isize whole_panels_ahead(const partition *part, isize pass, isize done, isize whole)
{
    const isize first = panel_in_order(part, pass, done, 1);
    if (first >= whole)
        return 0;
    return pass & 1 ? first + 1 - part->panel0 : smaller(part->panel1, whole) - first;
}

/* The j-th row of the partition */
INLINE isize partition_row(const partition *part, isize j) { return part->first + j * part->step; }

/* The i-th of n rows in an order of irregular_order strides: 0, 2, 1, 3, 4, 6, 5, 7 and so on. After even ones a core fetches what comes
 * next, and behind the last row that is one which another thread is about to write. */
INLINE isize irregular_order(isize i, isize n)
{
    const int middle = (i & 3) == 1 || (i & 3) == 2;
    return middle && (i | 3) <= n ? i ^ 3 : i;
}

/* Rows of the next block when `left` are left: blocks of nearly equal size, at most `most` */
INLINE isize next_block(isize left, isize most)
{
    const isize blocks = (left + most - 1) / most;
    return (left + blocks - 1) / blocks;
}

/* Which row of the partition sorted row b is */
INLINE isize partition_index(const partition *part, isize b) { return (b - part->first) / part->step; }

INLINE real *features_at(const clstm_sequences *lines, isize b, isize s)
{
    return (real *)lines->data + lines->row[b] + s * lines->step;
}

/* Set the state buffer's row b from the caller's array, with zeros behind it. */
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
