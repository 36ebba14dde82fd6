/* A thread's share of a walk, and where rows lie. */
#ifndef CLSTM_WALK_H
#define CLSTM_WALK_H

#include "kernels.h"
#include "vector.h"

/* Sorted rows first, first + step, ... and panels panel0 to panel1 - 1. Rows are dealt out in turn, so that threads
 * stay even while the rows of a ragged batch end. */
typedef struct {
    isize first, step, panel0, panel1;
} share;

INLINE share share_of(const clstm_team *team, int by_panels, isize panels)
{
    if (by_panels)
        return (share){0, 1, panels * team->rank / team->size, panels * (team->rank + 1) / team->size};
    return (share){team->rank, team->size, 0, panels};
}

/* Rows of the share among the first `rows` */
INLINE isize rows_below(const share *mine, isize rows)
{
    return rows > mine->first ? (rows - mine->first + mine->step - 1) / mine->step : 0;
}

/* The first of the next Q panels at step s, when `done` of the share's are done: from the first panel on at one step, from
 * the last one back at the next, so that what L2 holds of panels that don't fit there is used again before it goes. */
INLINE isize panel_in_turn(const share *mine, isize s, isize done, int Q)
{
    return s & 1 ? mine->panel1 - done - Q : mine->panel0 + done;
}

/* The j-th row of the share */
INLINE isize row_of(const share *mine, isize j) { return mine->first + j * mine->step; }

INLINE real *line_at(const clstm_lines *lines, isize b, isize s)
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
