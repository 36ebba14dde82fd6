"""The LSTM in plain NumPy, forward and backward: the truth everything else is compared with.

Written to be read beside ``docs/equations.md``: one line for one equation, gate by gate, slow on purpose. It works
in whatever float dtype it is given, and uses nothing of the rest of the package.

Shapes: T time steps, B rows (the batch), I inputs, H hidden units, D directions (1 or 2), L layers. The weights of
the gates lie on top of each other in the order i, f, g, o: ``weight_ih`` (4H, I), ``weight_hh`` (4H, H) and ``bias``
(4H,).

Sources: Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; the forget gate is that
of Gers, Schmidhuber & Cummins, "Learning to forget", Neural Computation 12(10), 2000.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Step(NamedTuple):
    """One step of the cell, each array (B, H): the four gates, and the cell state and output they lead to."""

    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray
    h: np.ndarray


class StepGradients(NamedTuple):
    """Gradients of one step: of its input (B, I), of the states before it (B, H), and of the weights."""

    x: np.ndarray
    h: np.ndarray
    c: np.ndarray
    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias: np.ndarray


class Run(NamedTuple):
    """What one direction of one layer did: outputs (T, B, H), final states (B, H), and its steps (T, B, H).

    Everything at a time past a row's length is zero. `h_before` and `c_before` are the states each step began with.
    """

    y: np.ndarray
    h_n: np.ndarray
    c_n: np.ndarray
    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray
    h_before: np.ndarray
    c_before: np.ndarray


class RunGradients(NamedTuple):
    """Gradients of one direction of one layer: as `StepGradients`, for all its steps together."""

    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias: np.ndarray


class Output(NamedTuple):
    """The whole network's output (T, B, D*H), its final states (L*D, B, H), and what `lstm_backward` needs."""

    y: np.ndarray
    h_n: np.ndarray
    c_n: np.ndarray
    inputs: list[np.ndarray]
    runs: list[list[Run]]


class Gradients(NamedTuple):
    """Gradients of the whole network: of x (T, B, I), of h0 and c0 (L*D, B, H), and of the weights by name."""

    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    weights: dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), in a form whose exp never overflows."""
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


# One step ------------------------------------------------------------------------------------------------------------


def lstm_cell(
    x: np.ndarray, h: np.ndarray, c: np.ndarray, weight_ih: np.ndarray, weight_hh: np.ndarray, bias: np.ndarray
) -> Step:
    """One step in the split form: each gate is W x + U h + b, with W its part of weight_ih and U of weight_hh.

    Parameters
    ----------
    x : ndarray (B, I)
    h, c : ndarray (B, H)
        Output and cell state of the step before.
    weight_ih : ndarray (4H, I)
    weight_hh : ndarray (4H, H)
    bias : ndarray (4H,)

    Returns
    -------
    Step
    """
    W_i, W_f, W_g, W_o = np.split(weight_ih, 4)
    U_i, U_f, U_g, U_o = np.split(weight_hh, 4)
    b_i, b_f, b_g, b_o = np.split(bias, 4)
    i = sigmoid(x @ W_i.T + h @ U_i.T + b_i)  # input gate: how much of g enters the cell
    f = sigmoid(x @ W_f.T + h @ U_f.T + b_f)  # forget gate: how much of the old cell state stays
    g = np.tanh(x @ W_g.T + h @ U_g.T + b_g)  # candidate for the cell state
    o = sigmoid(x @ W_o.T + h @ U_o.T + b_o)  # output gate: how much of the cell state shows
    return _cell_update(i, f, g, o, c)


def lstm_cell_concatenated(x: np.ndarray, h: np.ndarray, c: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> Step:
    """One step in the concatenated form: each gate is W [h, x] + b; ``weight`` (4H, H + I) is [weight_hh, weight_ih].

    The same function as `lstm_cell`, as older texts write it.
    """
    W_i, W_f, W_g, W_o = np.split(weight, 4)
    b_i, b_f, b_g, b_o = np.split(bias, 4)
    hx = np.concatenate([h, x], axis=1)
    i = sigmoid(hx @ W_i.T + b_i)
    f = sigmoid(hx @ W_f.T + b_f)
    g = np.tanh(hx @ W_g.T + b_g)
    o = sigmoid(hx @ W_o.T + b_o)
    return _cell_update(i, f, g, o, c)


def _cell_update(i, f, g, o, c_before):
    c = f * c_before + i * g
    h = o * np.tanh(c)
    return Step(i, f, g, o, c, h)


def lstm_cell_backward(
    step: Step,
    x: np.ndarray,
    h: np.ndarray,
    c: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    dh: np.ndarray,
    dc: np.ndarray,
) -> StepGradients:
    """The way back through one step, from the gradients of its output h and cell state c, each (B, H).

    ``x``, ``h``, ``c`` and the weights are what `lstm_cell` was given, ``step`` what it returned.
    """
    i, f, g, o, c_after, _ = step
    tanh_c = np.tanh(c_after)
    # h = o tanh(c)
    d_o = dh * tanh_c
    dc = dc + dh * o * (1 - tanh_c**2)
    # c = f c_before + i g
    d_i = dc * g
    d_f = dc * c
    d_g = dc * i
    dc_before = dc * f
    # i, f, o = sigmoid(a), whose derivative is s (1 - s); g = tanh(a), whose derivative is 1 - g^2
    da_i = d_i * i * (1 - i)
    da_f = d_f * f * (1 - f)
    da_g = d_g * (1 - g**2)
    da_o = d_o * o * (1 - o)
    # a = W x + U h + b, for each of the four gates
    dx = np.zeros_like(x)
    dh_before = np.zeros_like(h)
    for da, W, U in zip((da_i, da_f, da_g, da_o), np.split(weight_ih, 4), np.split(weight_hh, 4), strict=True):
        dx += da @ W
        dh_before += da @ U
    da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
    return StepGradients(dx, dh_before, dc_before, da.T @ x, da.T @ h, da.sum(axis=0))


# One direction of one layer ------------------------------------------------------------------------------------------


def _visits(lengths: np.ndarray, reverse: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each step the rows still running, and the time each of them is at.

    The reverse direction starts at each row's own last time, so its rows are at different times.
    """
    for step in range(lengths.max(initial=0)):
        rows = np.flatnonzero(lengths > step)
        yield rows, (lengths[rows] - 1 - step if reverse else np.full(len(rows), step))


def lstm_direction(
    x: np.ndarray,
    h0: np.ndarray,
    c0: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias: np.ndarray,
    lengths: np.ndarray | None = None,
    reverse: bool = False,
) -> Run:
    """One direction of one layer, over all time steps.

    Parameters
    ----------
    x : ndarray (T, B, I)
    h0, c0 : ndarray (B, H)
    weight_ih, weight_hh, bias : ndarray
        As for `lstm_cell`.
    lengths : ndarray of int (B,), optional
        Real steps of each row; all T where None. A row of length 0 keeps h0 and c0.
    reverse : bool
        Run from each row's last real step to its first.

    Returns
    -------
    Run
    """
    time, batch, _ = x.shape
    lengths = np.full(batch, time) if lengths is None else np.asarray(lengths)
    run = Run(
        np.zeros((time, batch, h0.shape[1]), x.dtype),
        h0.copy(),
        c0.copy(),
        *(np.zeros((time, batch, h0.shape[1]), x.dtype) for _ in range(7)),
    )
    h, c = run.h_n, run.c_n
    for rows, t in _visits(lengths, reverse):
        run.h_before[t, rows] = h[rows]
        run.c_before[t, rows] = c[rows]
        step = lstm_cell(x[t, rows], h[rows], c[rows], weight_ih, weight_hh, bias)
        run.i[t, rows], run.f[t, rows], run.g[t, rows], run.o[t, rows] = step.i, step.f, step.g, step.o
        run.c[t, rows] = c[rows] = step.c
        run.y[t, rows] = h[rows] = step.h
    return run


def lstm_direction_backward(
    run: Run,
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    dy: np.ndarray,
    dh_n: np.ndarray,
    dc_n: np.ndarray,
    lengths: np.ndarray | None = None,
    reverse: bool = False,
) -> RunGradients:
    """The way back through `lstm_direction`, from the gradients of y (T, B, H), h_n and c_n (B, H).

    What ``dy`` holds past a row's length is ignored.
    """
    time, batch, _ = x.shape
    lengths = np.full(batch, time) if lengths is None else np.asarray(lengths)
    grads = RunGradients(
        np.zeros_like(x),
        dh_n.copy(),
        dc_n.copy(),
        np.zeros_like(weight_ih),
        np.zeros_like(weight_hh),
        np.zeros(len(weight_ih), weight_ih.dtype),
    )
    dh, dc = grads.h0, grads.c0  # what comes from the step after; at the start of the row, the gradient of h0 and c0
    for rows, t in reversed(list(_visits(lengths, reverse))):
        step = Step(*(part[t, rows] for part in (run.i, run.f, run.g, run.o, run.c, run.y)))
        h_before, c_before = run.h_before[t, rows], run.c_before[t, rows]
        back = lstm_cell_backward(
            step, x[t, rows], h_before, c_before, weight_ih, weight_hh, dh[rows] + dy[t, rows], dc[rows]
        )
        grads.x[t, rows] = back.x
        dh[rows], dc[rows] = back.h, back.c
        grads.weight_ih[...] += back.weight_ih
        grads.weight_hh[...] += back.weight_hh
        grads.bias[...] += back.bias
    return grads


# Layers and directions -----------------------------------------------------------------------------------------------


def _layers_and_directions(weights: Mapping[str, np.ndarray]) -> tuple[int, int]:
    directions = 2 if "weight_ih_l0_reverse" in weights else 1
    return sum(name.startswith("weight_ih_l") for name in weights) // directions, directions


def _suffix(layer: int, direction: int) -> str:
    return f"l{layer}_reverse" if direction else f"l{layer}"


def _weights_of(weights, suffix):
    weight_ih, weight_hh = weights[f"weight_ih_{suffix}"], weights[f"weight_hh_{suffix}"]
    if f"bias_ih_{suffix}" in weights:
        return weight_ih, weight_hh, weights[f"bias_ih_{suffix}"] + weights[f"bias_hh_{suffix}"]
    return weight_ih, weight_hh, np.zeros(len(weight_ih), weight_ih.dtype)


def lstm(
    x: np.ndarray,
    h0: np.ndarray,
    c0: np.ndarray,
    weights: Mapping[str, np.ndarray],
    lengths: np.ndarray | None = None,
    dropout_masks: Sequence[np.ndarray] | None = None,
) -> Output:
    """An LSTM of any number of layers, in one direction or both.

    Parameters
    ----------
    x : ndarray (T, B, I)
    h0, c0 : ndarray (L*D, B, H)
        Layer by layer, in each the forward direction first.
    weights : mapping of str to ndarray
        By PyTorch's names: weight_ih_l0, weight_hh_l0, and, where there are biases, bias_ih_l0 and bias_hh_l0;
        l1, l2 ... for further layers; with the ending _reverse for the other direction.
    lengths : ndarray of int (B,), optional
        Real steps of each row; all T where None.
    dropout_masks : sequence of L - 1 ndarrays (T, B, D*H), optional
        What the output of each layer but the last is multiplied by on its way to the next: 0 or 1 / (1 - p).

    Returns
    -------
    Output
    """
    layers, directions = _layers_and_directions(weights)
    inputs, runs = [], []
    for layer in range(layers):
        inputs.append(x)
        first = layer * directions
        runs.append(
            [
                lstm_direction(
                    x, h0[first + d], c0[first + d], *_weights_of(weights, _suffix(layer, d)), lengths, reverse=d == 1
                )
                for d in range(directions)
            ]
        )
        y = np.concatenate([run.y for run in runs[-1]], axis=2)
        x = y if dropout_masks is None or layer == layers - 1 else y * dropout_masks[layer]
    h_n = np.stack([run.h_n for layer_runs in runs for run in layer_runs])
    c_n = np.stack([run.c_n for layer_runs in runs for run in layer_runs])
    return Output(y, h_n, c_n, inputs, runs)


def lstm_backward(
    output: Output,
    weights: Mapping[str, np.ndarray],
    dy: np.ndarray,
    dh_n: np.ndarray,
    dc_n: np.ndarray,
    lengths: np.ndarray | None = None,
    dropout_masks: Sequence[np.ndarray] | None = None,
) -> Gradients:
    """The way back through `lstm`, from the gradients of y (T, B, D*H), h_n and c_n (L*D, B, H).

    ``weights``, ``lengths`` and ``dropout_masks`` are what `lstm` was given, ``output`` what it returned.
    """
    layers, directions = _layers_and_directions(weights)
    dh0, dc0 = np.zeros_like(dh_n), np.zeros_like(dc_n)
    dweights = {}
    for layer in reversed(range(layers)):
        x = output.inputs[layer]
        dx = np.zeros_like(x)
        for d, dy_half in enumerate(np.split(dy, directions, axis=2)):
            place, suffix = layer * directions + d, _suffix(layer, d)
            weight_ih, weight_hh, _ = _weights_of(weights, suffix)
            run = output.runs[layer][d]
            grads = lstm_direction_backward(
                run, x, weight_ih, weight_hh, dy_half, dh_n[place], dc_n[place], lengths, reverse=d == 1
            )
            dx += grads.x
            dh0[place], dc0[place] = grads.h0, grads.c0
            dweights[f"weight_ih_{suffix}"] = grads.weight_ih
            dweights[f"weight_hh_{suffix}"] = grads.weight_hh
            if f"bias_ih_{suffix}" in weights:  # the two biases are added, so each has the gradient of the sum
                dweights[f"bias_ih_{suffix}"] = grads.bias
                dweights[f"bias_hh_{suffix}"] = grads.bias.copy()
        dy = dx if dropout_masks is None or layer == 0 else dx * dropout_masks[layer - 1]
    return Gradients(dx, dh0, dc0, {name: dweights[name] for name in weights})


def ctc(logits: np.ndarray, labels: Sequence[int], blank: int) -> tuple[float, np.ndarray]:
    """Return -log P(labels) of one row, logits (T, classes) with T above 0, and its gradient.

    Graves, Fernández, Gomez & Schmidhuber, "Connectionist temporal classification", ICML 2006, in log space: alpha
    and beta are the log probabilities of all that can have come before and can come after being in a state at a time.
    """
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    states = [blank]
    for label in labels:
        states += [label, blank]
    emitted = log_p[:, states]
    times, count = emitted.shape
    skips = [s >= 2 and states[s] not in (blank, states[s - 2]) for s in range(count)]

    alpha = np.full((times, count), -np.inf)
    alpha[0, :2] = emitted[0, :2]
    for t in range(1, times):
        for s in range(count):
            sources = alpha[t - 1, max(0, s - 1 - skips[s]) : s + 1]
            alpha[t, s] = np.logaddexp.reduce(sources) + emitted[t, s]
    beta = np.full((times, count), -np.inf)
    beta[-1, -2:] = 0
    for t in range(times - 2, -1, -1):
        for s in range(count):
            end = s + 3 if s + 2 < count and skips[s + 2] else s + 2
            beta[t, s] = np.logaddexp.reduce((beta[t + 1] + emitted[t + 1])[s:end])

    log_total = np.logaddexp.reduce(alpha[-1, -2:])
    gradient = np.exp(log_p)
    for s, label in enumerate(states):
        gradient[:, label] -= np.exp(alpha[:, s] + beta[:, s] - log_total)
    return -log_total, gradient
