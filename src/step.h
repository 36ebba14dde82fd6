/* One step of stacked layers whose state stays where it is, for a stream.
 *
 * Each layer is a job of `forward` whose walk has two steps, both of all rows: step `parity` reads one half of h and
 * writes the other, so that the next step is the one of the other parity. A layer's x is the half that the layer below
 * has just written, both products run in one pass (chunk 0), and every sum is the one that `forward` makes.
 */
#ifndef CLSTM_STEP_H
#define CLSTM_STEP_H

#include "forward.h"

static void step_all(const clstm_step *job, const clstm_team *team)
{
    for (isize layer = 0; layer < job->count; layer++) {
        const clstm_forward *own = &job->layers[layer];
        const group own_group = group_of(team, own->row_groups);
        const partition part = partition_of(own->walk, &own_group, padded(own->H) / VL);
        if (layer > 0)
            barrier(&own_group.team);
        forward_step(own, &part, job->parity, 0);
    }
}

#endif
