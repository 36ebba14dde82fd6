/* One step of stacked layers whose state stays where it is, for a stream.
 *
 * Each layer is a job of `forward` whose walk has two steps, both of all rows: step `parity` reads one half of h and
 * writes the other, so that the next step is the one of the other parity. A layer's x is the half that the layer below
 * has just written, both products run in one pass (chunk 0), and every sum is the one that `forward` makes.
 *
 * Where the weights don't fit the cache, a step begins with the panels that the one before ended with: what is left of
 * them is used before it is pushed out. Always in the same order, each panel would be gone just before it is due.
 */
#ifndef CLSTM_STEP_H
#define CLSTM_STEP_H

#include "forward.h"

static void step_all(const clstm_step *job, const clstm_team *team)
{
    for (isize layer = 0; layer < job->count; layer++) {
        const clstm_forward *own = &job->layers[layer];
        const share mine = share_of(team, own->by_panels, padded(own->H) / VL);
        const isize group = job->group ? job->group : mine.panel1 - mine.panel0;
        const isize groups = group ? (mine.panel1 - mine.panel0 + group - 1) / group : 0;
        if (layer > 0 && own->by_panels)
            barrier(team);
        for (isize i = 0; i < groups; i++) {
            share part = mine;
            part.panel0 += (job->parity ? groups - 1 - i : i) * group;
            part.panel1 = smaller(part.panel0 + group, mine.panel1);
            forward_step(own, &part, job->parity, 0);
        }
    }
}

#endif
