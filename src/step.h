/* One step of stacked layers for a stream, whose state remains in the kernels' layout between steps.
 *
 * Each layer is a job of `forward` whose walk has two steps, both of all rows. Step `parity` reads one of the two h buffers
 * and writes the other, so the next step has the other parity. A layer's x is the buffer that the layer below has just
 * written. Both products run in one pass (chunk 0), and every sum has the same order as in `forward`, so the bits are the same.
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
