"""The loops of CTC: the loss of each row with its gradient (Graves et al. 2006), and the search for its best labelling.

Everything is in log space and double, whatever the logits' dtype, so no length and no logit under- or overflows. One
thread computes a row from its beginning to its end: the bits are the same for any number of threads. Callers check
shapes, lengths and labels.
"""

cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport INFINITY, NAN, exp, log
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from clstm._core.arrays cimport dense, dense_writable, is_single, stride, strided

cnp.import_array()


cdef inline double log_add(double a, double b) noexcept nogil:
    """log(exp(a) + exp(b)); NaN passes through."""
    if a == -INFINITY:
        return b
    if b == -INFINITY:
        return a
    return a + log(1 + exp(b - a)) if a > b else b + log(1 + exp(a - b))


cdef inline double log_add3(double a, double b, double c) noexcept nogil:
    if b > a:
        a, b = b, a
    if c > a:
        a, c = c, a
    if a == -INFINITY:
        return a + b + c
    return a + log(1 + exp(b - a) + exp(c - a))


# A batch. log softmax = logits - log_sums.

cdef struct Batch:
    Py_ssize_t steps, size, classes, blank
    const void* logits                            # (steps, size, classes) in float or double
    Py_ssize_t time_stride, row_stride, class_stride
    const double* log_sums                        # (steps, size)
    Py_ssize_t sums_time_stride, sums_row_stride


cdef Batch batch_of(cnp.ndarray logits, cnp.ndarray log_sums, Py_ssize_t blank) except *:
    cdef Batch batch
    batch.steps, batch.size, batch.classes, batch.blank = logits.shape[0], logits.shape[1], logits.shape[2], blank
    batch.logits = strided(logits, cnp.PyArray_TYPE(logits), 3, False)
    batch.time_stride, batch.row_stride, batch.class_stride = stride(logits, 0), stride(logits, 1), stride(logits, 2)
    batch.log_sums = <const double*> strided(log_sums, cnp.NPY_FLOAT64, 2, False)
    batch.sums_time_stride, batch.sums_row_stride = stride(log_sums, 0), stride(log_sums, 1)
    return batch


cdef struct Row:  # a row of the batch, its values in float if `single`
    const char* logits
    const double* log_sums
    bint single
    Py_ssize_t T, C, blank, time_stride, class_stride, sums_stride


cdef inline Row row_of(const Batch* batch, bint single, Py_ssize_t b, Py_ssize_t length) noexcept nogil:
    cdef Row row
    cdef Py_ssize_t item = sizeof(float) if single else sizeof(double)
    row.logits = <const char*> batch.logits + b * batch.row_stride * item
    row.log_sums = batch.log_sums + b * batch.sums_row_stride
    row.single, row.T, row.C, row.blank = single, length, batch.classes, batch.blank
    row.time_stride, row.class_stride = batch.time_stride, batch.class_stride
    row.sums_stride = batch.sums_time_stride
    return row


cdef inline double log_probability(const Row* row, Py_ssize_t t, Py_ssize_t k) noexcept nogil:
    """log P(class k at step t)."""
    cdef Py_ssize_t at = t * row.time_stride + k * row.class_stride
    cdef double logit = (<const float*> row.logits)[at] if row.single else (<const double*> row.logits)[at]
    return logit - row.log_sums[t * row.sums_stride]


# The loss. The states of a row are its labels with blanks between and around them, S = 2 * labels + 1 in number: the
# even ones are blanks. A step goes from a state to itself or the next, or past a blank between two unequal labels.

cdef struct Labels:
    const int64_t* labels
    Py_ssize_t states, blank


cdef inline Py_ssize_t class_of(const Labels* labels, Py_ssize_t s) noexcept nogil:
    return labels.labels[s >> 1] if s & 1 else labels.blank


cdef inline Py_ssize_t first_state(const Labels* labels, Py_ssize_t steps_left) noexcept nogil:
    """The first state from which a path still reaches the end, with `steps_left` steps, this one included."""
    return labels.states - 2 * steps_left if labels.states > 2 * steps_left else 0


cdef inline Py_ssize_t end_state(const Labels* labels, Py_ssize_t t) noexcept nogil:
    """One more than the last state that a path can have reached at step t."""
    return 2 * t + 2 if 2 * t + 2 < labels.states else labels.states


cdef double fill_alpha(const Row* row, const Labels* labels, double* alpha) noexcept nogil:
    """Write alpha[t, s], the log probability of all paths that are in s at t with what they emitted; return all's."""
    cdef Py_ssize_t S = labels.states, t, s, k
    cdef double term
    cdef double* before
    cdef double* now
    for t in range(row.T):
        now = alpha + t * S
        before = now - S
        for s in range(S):
            now[s] = -INFINITY
        for s in range(first_state(labels, row.T - t), end_state(labels, t)):
            k = class_of(labels, s)
            if t == 0:
                term = 0
            elif s == 0:
                term = before[0]
            elif s & 1 and s > 1 and k != class_of(labels, s - 2):
                term = log_add3(before[s], before[s - 1], before[s - 2])
            else:
                term = log_add(before[s], before[s - 1])
            now[s] = term + log_probability(row, t, k)
    now = alpha + (row.T - 1) * S
    return now[0] if S == 1 else log_add(now[S - 1], now[S - 2])


cdef struct Steps:  # between the elements of a row's gradient
    Py_ssize_t time, label


cdef void subtract_occupancy(
    const Row* row, const Labels* labels, const double* alpha, double total, double* ahead, double scale,
    floating* gradient, Steps step,
) noexcept nogil:
    """Scale the gradient, and subtract `scale` times the probability that a path emits each class at each step.

    ahead (S,) is scratch: for a state s, the log probability of all paths from it to the end, including what s emits.
    """
    cdef Py_ssize_t S = labels.states, t, s, k
    cdef double beta, term, blanks  # beta: as `ahead`, without what s emits
    cdef floating by = <floating> scale
    for s in range(S):
        ahead[s] = -INFINITY
    for t in range(row.T - 1, -1, -1):
        for k in range(row.C):
            gradient[t * step.time + k * step.label] *= by
        blanks = 0
        for s in range(first_state(labels, row.T - t), end_state(labels, t)):
            k = class_of(labels, s)
            if t == row.T - 1:
                beta = 0
            elif s == S - 1:
                beta = ahead[s]
            elif s & 1 and s + 2 < S and k != class_of(labels, s + 2):
                beta = log_add3(ahead[s], ahead[s + 1], ahead[s + 2])
            else:
                beta = log_add(ahead[s], ahead[s + 1])
            ahead[s] = beta + log_probability(row, t, k)
            term = exp(alpha[t * S + s] + beta - total)
            if s & 1:
                gradient[t * step.time + k * step.label] -= <floating> (scale * term)
            else:
                blanks += term
        gradient[t * step.time + row.blank * step.label] -= <floating> (scale * blanks)


cdef void fill(
    floating* gradient, Steps step, Py_ssize_t begin, Py_ssize_t end, Py_ssize_t C, floating value
) noexcept nogil:
    """Set the gradient of the steps begin to end."""
    cdef Py_ssize_t t, k
    for t in range(begin, end):
        for k in range(C):
            gradient[t * step.time + k * step.label] = value


cdef int row_loss(
    const Row* row, const Labels* labels, double scale, bint zero_infinity, double* loss, floating* gradient, Steps step
) noexcept nogil:
    """Write a row's loss, and change its gradient from softmax to `scale` times the loss's.

    Returns 0, or -1 without memory.
    """
    cdef double total
    cdef double* alpha
    if row.T == 0:
        loss[0] = 0 if labels.states == 1 or zero_infinity else INFINITY
        return 0
    alpha = <double*> malloc((row.T + 1) * labels.states * sizeof(double))
    if alpha == NULL:
        return -1
    total = fill_alpha(row, labels, alpha)
    loss[0] = -total
    if total != -INFINITY:
        subtract_occupancy(row, labels, alpha, total, alpha + row.T * labels.states, scale, gradient, step)
    elif zero_infinity:
        loss[0] = 0
        fill(gradient, step, 0, row.T, row.C, <floating> 0)
    else:
        fill(gradient, step, 0, row.T, row.C, <floating> NAN)
    free(alpha)
    return 0


cdef int all_losses(
    const Batch* batch, const int64_t* labels, const int64_t* starts, const int64_t* lengths, const double* scales,
    bint zero_infinity, double* losses, floating* gradient, Steps step, Py_ssize_t row_stride, int num_threads,
) noexcept nogil:
    """Run `row_loss` on each row; return the number of rows without memory."""
    cdef Py_ssize_t b, length
    cdef int failed = 0
    cdef Row row
    cdef Labels of_row
    for b in prange(batch.size, num_threads=num_threads, schedule="dynamic"):
        length = lengths[b]
        if scales[b] == 0:
            length = 0
            losses[b] = 0
        else:
            row = row_of(batch, floating is float, b, length)
            of_row = Labels(labels + starts[b], 2 * (starts[b + 1] - starts[b]) + 1, batch.blank)
            failed -= row_loss(
                &row, &of_row, scales[b], zero_infinity, &losses[b], gradient + b * row_stride, step
            )
        fill(gradient + b * row_stride, step, length, batch.steps, batch.classes, <floating> 0)
    return failed


def loss(
    cnp.ndarray logits, cnp.ndarray log_sums, cnp.ndarray labels, cnp.ndarray starts, cnp.ndarray lengths,
    Py_ssize_t blank, cnp.ndarray scales, bint zero_infinity, cnp.ndarray losses, cnp.ndarray gradient, int num_threads,
) -> None:
    """Write each row's loss, and change `gradient` from softmax(logits) to `scales` times the gradients of the losses.

    logits and gradient (T, B, C), log_sums (T, B), any strides; labels[starts[b]:starts[b + 1]], int64, are those of
    row b, and lengths (B,) its steps. A row of scale 0 isn't read: its loss and gradient are 0.
    """
    cdef bint single = is_single(logits)
    cdef Batch batch = batch_of(logits, log_sums, blank)
    cdef const int64_t* all_labels = <const int64_t*> dense(labels, cnp.NPY_INT64, 1)
    cdef const int64_t* first = <const int64_t*> dense(starts, cnp.NPY_INT64, 1)
    cdef const int64_t* steps = <const int64_t*> dense(lengths, cnp.NPY_INT64, 1)
    cdef const double* by = <const double*> dense(scales, cnp.NPY_FLOAT64, 1)
    cdef double* of_rows = <double*> dense_writable(losses, cnp.NPY_FLOAT64, 1)
    cdef void* to = strided(gradient, cnp.PyArray_TYPE(logits), 3, True)
    cdef Steps step = Steps(stride(gradient, 0), stride(gradient, 2))
    cdef Py_ssize_t row = stride(gradient, 1)
    cdef int failed
    with nogil:
        if single:
            failed = all_losses(
                &batch, all_labels, first, steps, by, zero_infinity, of_rows, <float*> to, step, row, num_threads
            )
        else:
            failed = all_losses(
                &batch, all_labels, first, steps, by, zero_infinity, of_rows, <double*> to, step, row, num_threads
            )
    if failed:
        raise MemoryError("no memory for the alignments of a row")


# The search. Prefixes are nodes of a tree. Those in the beam have the log probabilities of all paths that spell them
# and end with a blank, and with their last label. A step keeps a prefix or adds a label to it; an extension of one
# prefix can only be the same as another in the beam, not as another extension, so nothing else has to be merged.

cdef struct Node:
    Py_ssize_t parent, label, child, sibling, place  # place: in the beam, -1 outside

cdef struct Entry:
    Py_ssize_t node
    double ends_blank, ends_label, score

cdef struct Candidate:
    double score
    Py_ssize_t place, label  # the prefix in the beam, and what is added to it; -1: nothing


cdef inline void sift_down(Candidate* heap, Py_ssize_t size) noexcept nogil:
    """Restore the order of a heap, the smallest on top, whose top was replaced."""
    cdef Py_ssize_t i = 0, child
    cdef Candidate moved = heap[0]
    while 2 * i + 1 < size:
        child = 2 * i + 1
        if child + 1 < size and heap[child + 1].score < heap[child].score:
            child += 1
        if heap[child].score >= moved.score:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = moved


cdef inline Py_ssize_t push(
    Candidate* heap, Py_ssize_t size, Py_ssize_t most, double score, Py_ssize_t place, Py_ssize_t label
) noexcept nogil:
    """Put a candidate into the heap if it is among the `most` best; return the heap's size."""
    cdef Py_ssize_t i
    if score == -INFINITY:
        return size
    if size == most:
        if score > heap[0].score:
            heap[0] = Candidate(score, place, label)
            sift_down(heap, size)
        return size
    i = size
    while i > 0 and heap[(i - 1) // 2].score > score:
        heap[i] = heap[(i - 1) // 2]
        i = (i - 1) // 2
    heap[i] = Candidate(score, place, label)
    return size + 1


cdef struct Search:  # of one row
    Py_ssize_t most, size, num_nodes  # most prefixes in the beam, present ones; nodes in the tree
    Node* nodes
    Entry* beam
    Entry* next_beam
    Candidate* heap
    double* ends_label  # (most,) log probabilities of each prefix of the beam, if the step keeps it
    double* ends_blank
    char* present       # (most, classes) whether a prefix with this label added is in the beam as well


cdef inline Py_ssize_t child_of(Search* search, Py_ssize_t parent, Py_ssize_t label) noexcept nogil:
    """The node of a prefix with a label added, the one that it had before if it was in the beam before."""
    cdef Node* nodes = search.nodes
    cdef Py_ssize_t node = nodes[parent].child
    while node >= 0:
        if nodes[node].label == label:
            return node
        node = nodes[node].sibling
    node = search.num_nodes
    search.num_nodes += 1
    nodes[node] = Node(parent, label, -1, nodes[parent].child, -1)
    nodes[parent].child = node
    return node


cdef void keep_prefixes(const Row* row, Search* search, Py_ssize_t t) noexcept nogil:
    """Compute what each prefix has after the step if no label is added to it.

    Its paths go on with a blank or with its last label again, or they are those of its parent that add this label.
    """
    cdef Py_ssize_t i, last, parent
    cdef double total
    cdef Entry entry
    memset(search.present, 0, search.size * row.C)
    for i in range(search.size):
        entry = search.beam[i]
        last = search.nodes[entry.node].label
        search.ends_blank[i] = entry.score + log_probability(row, t, row.blank)
        search.ends_label[i] = -INFINITY
        if last < 0:
            continue
        total = entry.ends_label
        parent = search.nodes[search.nodes[entry.node].parent].place
        if parent >= 0:
            search.present[parent * row.C + last] = 1
            if search.nodes[search.beam[parent].node].label == last:
                total = log_add(total, search.beam[parent].ends_blank)
            else:
                total = log_add(total, search.beam[parent].score)
        search.ends_label[i] = total + log_probability(row, t, last)


cdef Py_ssize_t best_candidates(const Row* row, Search* search, Py_ssize_t t) noexcept nogil:
    """Fill the heap with the best prefixes, kept or with a label added; return their number."""
    cdef Py_ssize_t i, k, last, found = 0
    cdef double score
    for i in range(search.size):
        score = log_add(search.ends_blank[i], search.ends_label[i])
        found = push(search.heap, found, search.most, score, i, -1)
    for i in range(search.size):
        last = search.nodes[search.beam[i].node].label
        for k in range(row.C):
            if k == row.blank or search.present[i * row.C + k]:
                continue
            score = search.beam[i].ends_blank if k == last else search.beam[i].score
            found = push(search.heap, found, search.most, score + log_probability(row, t, k), i, k)
    return found


cdef void replace_beam(Search* search, Py_ssize_t size) noexcept nogil:
    """Make the candidates in the heap the beam."""
    cdef Py_ssize_t i, place, node
    cdef double score
    for i in range(size):
        place, score = search.heap[i].place, search.heap[i].score
        node = search.beam[place].node
        if search.heap[i].label < 0:
            search.next_beam[i] = Entry(node, search.ends_blank[place], search.ends_label[place], score)
        else:
            search.next_beam[i] = Entry(child_of(search, node, search.heap[i].label), -INFINITY, score, score)
    for i in range(search.size):
        search.nodes[search.beam[i].node].place = -1
    for i in range(size):
        search.nodes[search.next_beam[i].node].place = i
    search.beam, search.next_beam, search.size = search.next_beam, search.beam, size


cdef double write_best(const Search* search, int64_t* labels, int64_t* count) noexcept nogil:
    """Write the labels of the best prefix and their number; return its log probability."""
    cdef Py_ssize_t i, k, best = 0
    for i in range(1, search.size):
        if search.beam[i].score > search.beam[best].score:
            best = i
    k = 0
    i = search.beam[best].node
    while i > 0:
        k += 1
        i = search.nodes[i].parent
    count[0] = k
    i = search.beam[best].node
    while i > 0:
        k -= 1
        labels[k] = search.nodes[i].label
        i = search.nodes[i].parent
    return search.beam[best].score


cdef int row_search(
    const Row* row, Py_ssize_t most, int64_t* labels, int64_t* count, double* score
) noexcept nogil:
    """Write the labels of a row's best prefix, their number and log probability; return 0, or -1 without memory."""
    cdef Py_ssize_t t
    cdef Search search
    cdef Entry* beams = <Entry*> malloc(2 * most * sizeof(Entry))
    cdef double* ends = <double*> malloc(2 * most * sizeof(double))
    search.most, search.size, search.num_nodes = most, 1, 1
    search.nodes = <Node*> malloc((row.T * most + 1) * sizeof(Node))
    search.heap = <Candidate*> malloc(most * sizeof(Candidate))
    search.present = <char*> malloc(most * row.C)
    cdef bint enough = (
        beams != NULL and ends != NULL and search.nodes != NULL and search.heap != NULL and search.present != NULL
    )
    if enough:
        search.beam, search.next_beam = beams, beams + most
        search.ends_label, search.ends_blank = ends, ends + most
        search.nodes[0] = Node(-1, -1, -1, -1, 0)
        search.beam[0] = Entry(0, 0, -INFINITY, 0)
        for t in range(row.T):
            keep_prefixes(row, &search, t)
            replace_beam(&search, best_candidates(row, &search, t))
        score[0] = write_best(&search, labels, count)
    free(beams)
    free(ends)
    free(search.nodes)
    free(search.heap)
    free(search.present)
    return 0 if enough else -1


def search(
    cnp.ndarray logits, cnp.ndarray log_sums, cnp.ndarray lengths, Py_ssize_t blank, Py_ssize_t beam_size,
    cnp.ndarray labels, cnp.ndarray counts, cnp.ndarray scores, int num_threads,
) -> None:
    """Write each row's best labels to `labels` (B, at least T and 1), their number, and their log probability.

    logits (T, B, C) and log_sums (T, B), any strides; lengths, labels and counts int64, scores float64.
    """
    cdef bint single = is_single(logits)
    cdef Batch batch = batch_of(logits, log_sums, blank)
    cdef const int64_t* steps = <const int64_t*> dense(lengths, cnp.NPY_INT64, 1)
    cdef int64_t* found = <int64_t*> dense_writable(labels, cnp.NPY_INT64, 2)
    cdef int64_t* numbers = <int64_t*> dense_writable(counts, cnp.NPY_INT64, 1)
    cdef double* totals = <double*> dense_writable(scores, cnp.NPY_FLOAT64, 1)
    cdef Py_ssize_t b, width = labels.shape[1]
    cdef int failed = 0
    cdef Row row
    for b in prange(batch.size, nogil=True, num_threads=num_threads, schedule="dynamic"):
        row = row_of(&batch, single, b, steps[b])
        failed -= row_search(&row, beam_size, found + b * width, numbers + b, totals + b)
    if failed:
        raise MemoryError("no memory for the prefixes of a row")
