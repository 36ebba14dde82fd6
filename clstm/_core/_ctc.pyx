"""The loops of CTC: the loss of each row with its gradient (Graves et al. 2006), and the search for its best labelling.

Everything is in log space and double, whatever the logits' dtype, so no length and no logit under- or overflows. A row
is one thread's work from its beginning to its end: the bits are the same for any number of threads. Arrays are checked
by the caller: logits (T, B, C), dense along C; log_sums (T, B), with log softmax = logits - log_sums; lengths (B,).
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport INFINITY, NAN, exp, log
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset


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


# The loss. The states of a row are its labels with blanks between and around them, S = 2 * labels + 1 in number: the
# even ones are blanks. A step goes from a state to itself or the next, or past a blank between two unequal labels.

cdef int row_loss(
    const floating[:, :, :] logits, const double[:, :] log_sums, const int64_t* labels, Py_ssize_t count,
    Py_ssize_t b, Py_ssize_t T, Py_ssize_t blank, double scale, bint zero_infinity, double* loss,
    floating[:, :, :] gradient,
) noexcept nogil:
    """Write the loss of row b, and turn its gradient from softmax to `scale` times that of the loss.

    Returns 0, or -1 without memory.
    """
    cdef Py_ssize_t S = 2 * count + 1, C = logits.shape[2], t, s, k, first, last
    cdef double total, blanks, term, beta
    cdef floating fill, by = <floating>scale
    cdef double *alpha
    cdef double *ahead
    cdef double *before
    cdef double *now
    if T == 0:
        loss[0] = 0 if count == 0 or zero_infinity else INFINITY
        return 0
    alpha = <double*>malloc((T + 1) * S * sizeof(double))
    if alpha == NULL:
        return -1
    ahead = alpha + T * S

    # alpha[t, s]: log probability of all paths that are in s at t, with what they emitted
    for t in range(T):
        now = alpha + t * S
        before = now - S
        first = S - 2 * (T - t) if S > 2 * (T - t) else 0  # from those before no path reaches the end
        last = 2 * t + 2 if 2 * t + 2 < S else S  # and those from here on aren't reached yet
        for s in range(S):
            now[s] = -INFINITY
        for s in range(first, last):
            k = labels[s >> 1] if s & 1 else blank
            if t == 0:
                term = 0
            elif s == 0:
                term = before[0]
            elif s & 1 and s > 1 and k != labels[(s >> 1) - 1]:
                term = log_add3(before[s], before[s - 1], before[s - 2])
            else:
                term = log_add(before[s], before[s - 1])
            now[s] = term + (logits[t, b, k] - log_sums[t, b])
    now = alpha + (T - 1) * S
    total = now[0] if S == 1 else log_add(now[S - 1], now[S - 2])
    loss[0] = -total
    if total == -INFINITY:
        fill = 0 if zero_infinity else NAN
        if zero_infinity:
            loss[0] = 0
        for t in range(T):
            for k in range(C):
                gradient[t, b, k] = fill
        free(alpha)
        return 0

    # beta: log probability of all ways from s at t to the end; ahead[s]: with what is emitted at t + 1 in s
    for s in range(S):
        ahead[s] = -INFINITY
    for t in range(T - 1, -1, -1):
        for k in range(C):
            gradient[t, b, k] *= by
        now = alpha + t * S
        first = S - 2 * (T - t) if S > 2 * (T - t) else 0
        last = 2 * t + 2 if 2 * t + 2 < S else S
        blanks = 0
        for s in range(first, last):
            k = labels[s >> 1] if s & 1 else blank
            if t == T - 1:
                beta = 0
            elif s == S - 1:
                beta = ahead[s]
            elif s & 1 and s + 2 < S and k != labels[(s >> 1) + 1]:
                beta = log_add3(ahead[s], ahead[s + 1], ahead[s + 2])
            else:
                beta = log_add(ahead[s], ahead[s + 1])
            ahead[s] = beta + (logits[t, b, k] - log_sums[t, b])
            term = exp(now[s] + beta - total)
            if s & 1:
                gradient[t, b, k] -= <floating>(scale * term)
            else:
                blanks += term
        gradient[t, b, blank] -= <floating>(scale * blanks)
    free(alpha)
    return 0


def loss(
    const floating[:, :, :] logits, const double[:, :] log_sums, const int64_t[::1] labels,
    const int64_t[::1] starts, const int64_t[::1] lengths, Py_ssize_t blank, const double[::1] scales,
    bint zero_infinity, double[::1] losses, floating[:, :, :] gradient, int num_threads,
):
    """Write each row's loss, and change `gradient` from softmax(logits) to `scales` times the gradients of the losses.

    labels[starts[b]:starts[b + 1]] are those of row b. A row of scale 0 isn't looked at: its loss and gradient are 0.
    """
    cdef Py_ssize_t B = logits.shape[1], b, t, k, length, C = logits.shape[2]
    cdef const int64_t* first = &labels[0] if labels.shape[0] else NULL
    cdef int failed = 0
    for b in prange(B, nogil=True, num_threads=num_threads, schedule="dynamic"):
        length = lengths[b]
        if scales[b] == 0:
            length = 0
            losses[b] = 0
        else:
            failed -= row_loss(
                logits, log_sums, first + starts[b], starts[b + 1] - starts[b], b, length, blank, scales[b],
                zero_infinity, &losses[b], gradient,
            )
        for t in range(length, logits.shape[0]):
            for k in range(C):
                gradient[t, b, k] = 0
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
    """Put the first of a heap, the least on top, to its place."""
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


cdef inline Py_ssize_t offer(
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


cdef inline Py_ssize_t child_of(Node* nodes, Py_ssize_t* count, Py_ssize_t parent, Py_ssize_t label) noexcept nogil:
    """The node of this prefix, the same one also where it was in the beam before."""
    cdef Py_ssize_t node = nodes[parent].child
    while node >= 0:
        if nodes[node].label == label:
            return node
        node = nodes[node].sibling
    node = count[0]
    count[0] += 1
    nodes[node] = Node(parent, label, -1, nodes[parent].child, -1)
    nodes[parent].child = node
    return node


cdef int row_search(
    const floating[:, :, :] logits, const double[:, :] log_sums, Py_ssize_t b, Py_ssize_t T, Py_ssize_t blank,
    Py_ssize_t most, int64_t* labels, int64_t* count, double* score,
) noexcept nogil:
    """Write the labels of the best prefix of row b, their number and log probability; 0, or -1 without memory."""
    cdef Py_ssize_t C = logits.shape[2], t, i, k, parent, last, size = 1, kept, num_nodes = 1, best
    cdef double total, p, log_sum
    cdef Node* nodes = <Node*>malloc((T * most + 1) * sizeof(Node))
    cdef Entry* beam = <Entry*>malloc(2 * most * sizeof(Entry))
    cdef Candidate* heap = <Candidate*>malloc(most * sizeof(Candidate))
    cdef double* extended = <double*>malloc(2 * most * sizeof(double))
    cdef char* present = <char*>malloc(most * C)
    cdef Entry* new = beam + most
    cdef Entry* swap
    cdef Entry entry
    cdef double* ends_label = extended
    cdef double* ends_blank = extended + most
    if nodes == NULL or beam == NULL or heap == NULL or extended == NULL or present == NULL:
        free(nodes)
        free(beam)
        free(heap)
        free(extended)
        free(present)
        return -1
    swap = beam  # what is to be freed
    nodes[0] = Node(-1, -1, -1, -1, 0)
    beam[0] = Entry(0, 0, -INFINITY, 0)

    for t in range(T):
        log_sum = log_sums[t, b]
        memset(present, 0, size * C)
        for i in range(size):  # keep the prefix, by a blank, its last label again, or a path of its parent that adds it
            entry = beam[i]
            last = nodes[entry.node].label
            ends_blank[i] = entry.score + (logits[t, b, blank] - log_sum)
            ends_label[i] = -INFINITY
            if last >= 0:
                total = entry.ends_label
                parent = nodes[nodes[entry.node].parent].place
                if parent >= 0:
                    present[parent * C + last] = 1
                    k = nodes[beam[parent].node].label
                    total = log_add(total, beam[parent].ends_blank if k == last else beam[parent].score)
                ends_label[i] = total + (logits[t, b, last] - log_sum)
        kept = 0
        for i in range(size):
            kept = offer(heap, kept, most, log_add(ends_blank[i], ends_label[i]), i, -1)
        for i in range(size):
            last = nodes[beam[i].node].label
            for k in range(C):
                if k == blank or present[i * C + k]:
                    continue
                p = (beam[i].ends_blank if k == last else beam[i].score) + (logits[t, b, k] - log_sum)
                kept = offer(heap, kept, most, p, i, k)

        for i in range(kept):
            k = heap[i].label
            entry = beam[heap[i].place]
            if k < 0:
                new[i] = Entry(entry.node, ends_blank[heap[i].place], ends_label[heap[i].place], heap[i].score)
            else:
                new[i] = Entry(child_of(nodes, &num_nodes, entry.node, k), -INFINITY, heap[i].score, heap[i].score)
        for i in range(size):
            nodes[beam[i].node].place = -1
        size = kept
        for i in range(size):
            nodes[new[i].node].place = i
        beam, new = new, beam

    best = 0
    for i in range(1, size):
        if beam[i].score > beam[best].score:
            best = i
    score[0] = beam[best].score
    k = 0
    i = beam[best].node
    while i > 0:
        k += 1
        i = nodes[i].parent
    count[0] = k
    i = beam[best].node
    while i > 0:
        k -= 1
        labels[k] = nodes[i].label
        i = nodes[i].parent
    free(nodes)
    free(swap)
    free(heap)
    free(extended)
    free(present)
    return 0


def search(
    const floating[:, :, :] logits, const double[:, :] log_sums, const int64_t[::1] lengths, Py_ssize_t blank,
    Py_ssize_t beam_size, int64_t[:, ::1] labels, int64_t[::1] counts, double[::1] scores, int num_threads,
):
    """Write each row's best labels to `labels` (B, at least T and 1), their number, and their log probability."""
    cdef Py_ssize_t b
    cdef int failed = 0
    for b in prange(logits.shape[1], nogil=True, num_threads=num_threads, schedule="dynamic"):
        failed -= row_search(
            logits, log_sums, b, lengths[b], blank, beam_size, &labels[b, 0], &counts[b], &scores[b]
        )
    if failed:
        raise MemoryError("no memory for the prefixes of a row")
