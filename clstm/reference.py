"""The LSTM and all its variants in plain NumPy, forward and backward: what the kernels are tested against.

Read it beside ``docs/equations.md``: each equation is one line, gate by gate, without regard to speed. It computes in
the float dtype of its arguments and imports nothing from the package.

Shapes: T time steps, B rows (the batch), I inputs, H hidden units, P outputs (H, if there is no projection),
D directions (1 or 2), L layers. The gates' weights are stacked along the first axis in the order i, f, g, o:
``weight_ih`` (4H, I), ``weight_hh`` (4H, P) and ``bias`` (4H,). With coupled gates, i has no weights: 3H rows, f, g, o.

Sources: Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; the forget gate is that
of Gers, Schmidhuber & Cummins, "Learning to forget", Neural Computation 12(10), 2000. ``docs/equations.md`` names the
sources of the variants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

EPSILON = 1e-5  # added to the variance in layer normalisation, as in PyTorch

# Variants ------------------------------------------------------------------------------------------------------------


class Variant(NamedTuple):
    """The options of an LSTM step that aren't weights; the default is the plain LSTM.

    `activations` are those of the three gates, the candidate and the output: each a name or (name, alpha, beta).
    `zoneout` is (of h, of c), the probabilities, which inference uses.
    """

    coupled: bool = False
    cell_clip: float = np.inf
    gate_clip: float = np.inf
    zoneout: tuple[float, float] = (0.0, 0.0)
    activations: tuple = ("sigmoid", "tanh", "tanh")


class Extras(NamedTuple):
    """The additional weights of variants, None where a variant has no such weight; also their gradients."""

    weight_hr: np.ndarray | None = None  # (P, H), the projection
    weight_peephole: np.ndarray | None = None  # (3H,) of i, f, o; coupled (2H,) of f, o
    weight_norm_gates: np.ndarray | None = None  # (4H,), coupled (3H,)
    weight_norm_cell: np.ndarray | None = None  # (H,)
    bias_norm_cell: np.ndarray | None = None  # (H,)


PLAIN, NO_EXTRAS = Variant(), Extras()


class Masks(NamedTuple):
    """The random masks of training, of one step or of one direction; None where an option is off.

    `recurrent` (B, P) is the recurrent dropout mask, 0 or 1 / (1 - p), the same at every step: the gates are given h
    multiplied by it. `zoneout_h` (B, P) and `zoneout_c` (B, H) are the zoneout masks, True where a unit keeps its old
    value; for a direction they have a leading axis T.
    """

    recurrent: np.ndarray | None = None
    zoneout_h: np.ndarray | None = None
    zoneout_c: np.ndarray | None = None


class Norm(NamedTuple):
    """Normalised values, with mean 0 and variance 1, and the scale 1 / sqrt(variance + EPSILON)."""

    values: np.ndarray
    scale: np.ndarray


class Step(NamedTuple):
    """The results of one step, (B, H) each: the gates, the new cell state and output, and the intermediate values.

    `sums` has the pre-activations of the gates i, f, g and o by name; `norms` the layer norms of each, and of the cell
    state as "c".
    """

    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray
    h: np.ndarray
    sums: dict[str, np.ndarray]
    norms: dict[str, Norm]
    c_sum: np.ndarray  # f c + i g, before it is clipped
    q: np.ndarray  # the argument of the output activation: c, or its layer norm
    m: np.ndarray  # the output before the projection


class StepGradients(NamedTuple):
    """Gradients of one step: of its input (B, I), its initial state (B, P) and (B, H), and the weights."""

    x: np.ndarray
    h: np.ndarray
    c: np.ndarray
    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias: np.ndarray
    extras: Extras


class Run(NamedTuple):
    """The results of one direction of one layer: outputs (T, B, P), final state (B, P) and (B, H), gates (T, B, H).

    Everything past a row's length is zero. `h_before` and `c_before` are the states from which each step starts;
    `steps` are in the order of computation, from the last time to the first in the reverse direction.
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
    steps: list[Step]


class RunGradients(NamedTuple):
    """Gradients of one direction of one layer: as `StepGradients`, summed over all steps.

    `fresh_h` (P,) and `fresh_c` (H,) are those of the state that a reset sets.
    """

    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias: np.ndarray
    extras: Extras
    fresh_h: np.ndarray
    fresh_c: np.ndarray


class Output(NamedTuple):
    """The network's output (T, B, D*P), its final state (L*D, B, P) and (L*D, B, H), and what `lstm_backward` needs.

    The states are lists if layers have different sizes. `learnt` is True if the initial state was that of the weights.
    """

    y: np.ndarray
    h_n: np.ndarray | list[np.ndarray]
    c_n: np.ndarray | list[np.ndarray]
    inputs: list[np.ndarray]
    runs: list[list[Run]]
    learnt: bool


class Gradients(NamedTuple):
    """Gradients of the network: of x (T, B, I), of h0 and c0 in the shapes of h_n and c_n, and of the weights."""

    x: np.ndarray
    h0: np.ndarray | list[np.ndarray]
    c0: np.ndarray | list[np.ndarray]
    weights: dict[str, np.ndarray]


# Functions of one variable -------------------------------------------------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), computed so that exp never overflows."""
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


def _exponential_linear(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _exponential_linear_slope(x, alpha):
    return np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0)))


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017

# By name: the default alpha and beta, and the function and its derivative, each called with x, alpha and beta
ACTIVATIONS: dict[str, tuple[float, float, Callable, Callable]] = {
    "sigmoid": (1.0, 0.0, lambda x, a, b: sigmoid(x), lambda x, a, b: sigmoid(x) * sigmoid(-x)),
    "tanh": (1.0, 0.0, lambda x, a, b: np.tanh(x), lambda x, a, b: 1 - np.tanh(x) ** 2),
    "relu": (1.0, 0.0, lambda x, a, b: np.maximum(x, 0), lambda x, a, b: np.where(x > 0, 1, 0)),
    "hard_sigmoid": (
        0.2,
        0.5,
        lambda x, a, b: np.clip(a * x + b, 0, 1),
        lambda x, a, b: np.where((a * x + b > 0) & (a * x + b < 1), a, 0),
    ),
    "leaky_relu": (0.01, 0.0, lambda x, a, b: np.where(x > 0, x, a * x), lambda x, a, b: np.where(x > 0, 1, a)),
    "thresholded_relu": (1.0, 0.0, lambda x, a, b: np.where(x > a, x, 0), lambda x, a, b: np.where(x > a, 1, 0)),
    "elu": (
        1.0,
        0.0,
        lambda x, a, b: _exponential_linear(x, a),
        lambda x, a, b: _exponential_linear_slope(x, a),
    ),
    "affine": (1.0, 0.0, lambda x, a, b: a * x + b, lambda x, a, b: np.full_like(x, a)),
    "scaled_tanh": (
        1.0,
        1.0,
        lambda x, a, b: a * np.tanh(b * x),
        lambda x, a, b: a * b * (1 - np.tanh(b * x) ** 2),
    ),
    "softsign": (1.0, 0.0, lambda x, a, b: x / (1 + np.abs(x)), lambda x, a, b: 1 / (1 + np.abs(x)) ** 2),
    "softplus": (1.0, 0.0, lambda x, a, b: np.logaddexp(x, 0), lambda x, a, b: sigmoid(x)),
    "linear": (1.0, 0.0, lambda x, a, b: x, lambda x, a, b: np.ones_like(x)),
    "exponential": (1.0, 0.0, lambda x, a, b: np.exp(x), lambda x, a, b: np.exp(x)),
    "selu": (
        1.0,
        0.0,
        lambda x, a, b: SELU_SCALE * _exponential_linear(x, SELU_ALPHA),
        lambda x, a, b: SELU_SCALE * _exponential_linear_slope(x, SELU_ALPHA),
    ),
}


def clipped(x: np.ndarray, limit: float) -> np.ndarray:
    """Return x within [-limit, limit]."""
    return x if limit == np.inf else np.clip(x, -limit, limit)


def activate(activation: str | tuple, x: np.ndarray, clip: float = np.inf) -> np.ndarray:
    """Return the activation, a name or (name, alpha, beta), of x clipped to [-clip, clip]."""
    function, _, alpha, beta = _activation(activation)
    return function(clipped(x, clip), alpha, beta).astype(x.dtype, copy=False)


def activation_slope(activation: str | tuple, x: np.ndarray, clip: float = np.inf) -> np.ndarray:
    """Return the derivative of `activate` with respect to x: 0 where x is clipped."""
    _, slope, alpha, beta = _activation(activation)
    inside = slope(clipped(x, clip), alpha, beta).astype(x.dtype, copy=False)
    return np.where(np.abs(x) <= clip, inside, 0)


def _activation(activation):
    name, *given = (activation,) if isinstance(activation, str) else activation
    alpha, beta, function, slope = ACTIVATIONS[name]
    alpha, beta = (*given, *(alpha, beta)[len(given) :])
    return function, slope, alpha, beta


def normalise(a: np.ndarray) -> Norm:
    """Normalise each row of a (B, H) to mean 0 and variance 1 (Ba, Kiros & Hinton, "Layer normalization", 2016)."""
    centred = a - a.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
    return Norm(centred * scale, scale)


def normalise_backward(norm: Norm, d_values: np.ndarray) -> np.ndarray:
    """Return the gradient of the argument of `normalise`, given that of the normalised values, both (B, H)."""
    mean = d_values.mean(axis=1, keepdims=True)
    along = (d_values * norm.values).mean(axis=1, keepdims=True)
    return norm.scale * (d_values - mean - norm.values * along)


# One step ------------------------------------------------------------------------------------------------------------


def lstm_cell(
    x: np.ndarray,
    h: np.ndarray,
    c: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias: np.ndarray,
    extras: Extras = NO_EXTRAS,
    variant: Variant = PLAIN,
    masks: Masks | None = None,
) -> Step:
    """Do one step in the split form: each gate is W x + U h + b, where W and U are its parts of the two weights.

    Parameters
    ----------
    x : ndarray (B, I)
    h, c : ndarray (B, P), (B, H)
        Output and cell state before the step.
    weight_ih : ndarray (4H, I)
    weight_hh : ndarray (4H, P)
        With DropConnect, already multiplied by its mask.
    bias : ndarray (4H,)
    extras : Extras
        The additional weights of a variant.
    variant : Variant
    masks : Masks, optional
        Of this step, in training. None in inference, where zoneout averages old and new values.

    Returns
    -------
    Step
    """
    gates = _gates(variant)
    W, U, b = (_by_gate(gates, array) for array in (weight_ih, weight_hh, bias))
    p, gain = _by_gate(gates.replace("g", ""), extras.weight_peephole), _by_gate(gates, extras.weight_norm_gates)
    of_gates, of_candidate, of_output = variant.activations
    h_seen = _masked(h, masks)
    z_h, z_c = _zoneout(variant, masks, x.dtype)
    a, norms = {}, {}
    for k in gates:
        a[k] = x @ W[k].T + h_seen @ U[k].T
        if gain:
            norms[k] = normalise(a[k])
            a[k] = gain[k] * norms[k].values
        a[k] = a[k] + b[k]
        if p and k in "if":  # the peepholes of i and f see the cell state before the step
            a[k] = a[k] + p[k] * c

    f = activate(of_gates, a["f"], variant.gate_clip)  # forget gate: how much of the old cell state remains
    i = 1 - f if variant.coupled else activate(of_gates, a["i"], variant.gate_clip)  # input gate: how much of g enters
    g = activate(of_candidate, a["g"], variant.gate_clip)  # candidate for the cell state
    c_sum = f * c + i * g
    c_new = clipped(c_sum, variant.cell_clip)
    if p:  # the peephole of o sees the cell state after the step
        a["o"] = a["o"] + p["o"] * c_new
    o = activate(of_gates, a["o"], variant.gate_clip)  # output gate: how much of the cell state is output

    q = c_new
    if extras.weight_norm_cell is not None:
        norms["c"] = normalise(c_new)
        q = extras.weight_norm_cell * norms["c"].values
        if extras.bias_norm_cell is not None:
            q = q + extras.bias_norm_cell
    m = o * activate(of_output, q)
    h_new = m if extras.weight_hr is None else m @ extras.weight_hr.T
    return Step(i, f, g, o, _between(z_c, c, c_new), _between(z_h, h, h_new), a, norms, c_sum, q, m)


def lstm_cell_concatenated(x: np.ndarray, h: np.ndarray, c: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> Step:
    """Do one step of the plain LSTM in the concatenated form: each gate is W [h, x] + b, with ``weight`` (4H, H + I).

    Many texts write the equations so. It computes the same as `lstm_cell`; ``weight`` is [weight_hh, weight_ih].
    """
    a = _by_gate("ifgo", np.concatenate([h, x], axis=1) @ weight.T + bias, axis=1)
    i, f, g, o = sigmoid(a["i"]), sigmoid(a["f"]), np.tanh(a["g"]), sigmoid(a["o"])
    c_new = f * c + i * g
    h_new = o * np.tanh(c_new)
    return Step(i, f, g, o, c_new, h_new, a, {}, c_new, c_new, h_new)


def lstm_cell_backward(
    step: Step,
    x: np.ndarray,
    h: np.ndarray,
    c: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    dh: np.ndarray,
    dc: np.ndarray,
    extras: Extras = NO_EXTRAS,
    variant: Variant = PLAIN,
    masks: Masks | None = None,
) -> StepGradients:
    """Do the backward pass of one step, given the gradients of its output h (B, P) and cell state c (B, H).

    ``step`` is the result of `lstm_cell`, and the arguments of the same names are those of `lstm_cell`.
    """
    gates = _gates(variant)
    W, U = _by_gate(gates, weight_ih), _by_gate(gates, weight_hh)
    p, gain = _by_gate(gates.replace("g", ""), extras.weight_peephole), _by_gate(gates, extras.weight_norm_gates)
    of_gates, of_candidate, of_output = variant.activations
    h_seen = _masked(h, masks)
    z_h, z_c = _zoneout(variant, masks, x.dtype)
    i, f, g, a, norms = step.i, step.f, step.g, step.sums, step.norms
    c_new = clipped(step.c_sum, variant.cell_clip)

    # h = z h_before + (1 - z) h_new, and c in the same way
    dh_before, dh_new = _between_backward(z_h, dh)
    dc_before, dc_new = _between_backward(z_c, dc)
    d_o, dc_of_output, dextras = _output_backward(step, dh_new, extras, of_output)
    dc_new = dc_new + dc_of_output
    # o = activation(a_o), where a_o includes p_o c_new
    da, dp = {}, {}
    da["o"] = d_o * activation_slope(of_gates, a["o"], variant.gate_clip)
    if p:
        dc_new = dc_new + da["o"] * p["o"]
        dp["o"] = (da["o"] * c_new).sum(axis=0)
    # c_new = clip(f c + i g)
    dc_sum = np.where(np.abs(step.c_sum) <= variant.cell_clip, dc_new, 0)
    d_i, d_f, d_g = dc_sum * g, dc_sum * c, dc_sum * i
    dc_before = dc_before + dc_sum * f
    if variant.coupled:  # i = 1 - f
        d_f = d_f - d_i
    else:
        da["i"] = d_i * activation_slope(of_gates, a["i"], variant.gate_clip)
    da["f"] = d_f * activation_slope(of_gates, a["f"], variant.gate_clip)
    da["g"] = d_g * activation_slope(of_candidate, a["g"], variant.gate_clip)
    # a = gain norm(W x + U h) + b + p c, for each of the gates
    dx, dh_seen = np.zeros_like(x), np.zeros_like(h)
    db, dgain = {}, {}
    for k in gates:
        if p and k in "if":
            dc_before = dc_before + da[k] * p[k]
            dp[k] = (da[k] * c).sum(axis=0)
        db[k] = da[k].sum(axis=0)
        if gain:
            dgain[k] = (da[k] * norms[k].values).sum(axis=0)
            da[k] = normalise_backward(norms[k], da[k] * gain[k])
        dx += da[k] @ W[k]
        dh_seen += da[k] @ U[k]
    if p:
        dextras["weight_peephole"] = np.concatenate([dp[k] for k in gates if k != "g"])
    if gain:
        dextras["weight_norm_gates"] = np.concatenate([dgain[k] for k in gates])
    da_all = np.concatenate([da[k] for k in gates], axis=1)
    return StepGradients(
        dx,
        dh_before + _masked(dh_seen, masks),
        dc_before,
        da_all.T @ x,
        da_all.T @ h_seen,
        np.concatenate([db[k] for k in gates]),
        Extras(**dextras),
    )


def _output_backward(step, dh_new, extras, of_output):
    """Return the gradients of o and of c_new through the step's output, and of the weights between c_new and h_new."""
    dextras = {}
    # h_new = W_hr m
    dm = dh_new
    if extras.weight_hr is not None:
        dm = dh_new @ extras.weight_hr
        dextras["weight_hr"] = dh_new.T @ step.m
    # m = o r,  r = activation(q)
    d_o = dm * activate(of_output, step.q)
    dq = dm * step.o * activation_slope(of_output, step.q)
    # q = weight norm(c_new) + bias
    if extras.weight_norm_cell is not None:
        norm = step.norms["c"]
        dextras["weight_norm_cell"] = (dq * norm.values).sum(axis=0)
        if extras.bias_norm_cell is not None:
            dextras["bias_norm_cell"] = dq.sum(axis=0)
        dq = normalise_backward(norm, dq * extras.weight_norm_cell)
    return d_o, dq, dextras


def _gates(variant):
    return "fgo" if variant.coupled else "ifgo"


def _by_gate(gates, array, axis=0):
    """Split an array into the gates' parts, by name; of None, return no parts."""
    return {} if array is None else dict(zip(gates, np.split(array, len(gates), axis), strict=True))


def _masked(h, masks):
    return h if masks is None or masks.recurrent is None else h * masks.recurrent


def _zoneout(variant, masks, dtype):
    """Return the fractions of the old h and c in the new ones: 0 or 1 in training, the probability in inference."""
    if masks is None:
        return tuple(z or None for z in variant.zoneout)
    return tuple(None if mask is None else mask.astype(dtype) for mask in (masks.zoneout_h, masks.zoneout_c))


def _between(z, before, new):
    return new if z is None else z * before + (1 - z) * new


def _between_backward(z, gradient):
    return (np.zeros_like(gradient), gradient) if z is None else (z * gradient, (1 - z) * gradient)


# One direction of one layer ------------------------------------------------------------------------------------------


def _visits(lengths: np.ndarray, reverse: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each step the rows that take part in it, and the time of each of them.

    The reverse direction starts at the last real step of each row, so its rows are at different times.
    """
    for step in range(lengths.max(initial=0)):
        rows = np.flatnonzero(lengths > step)
        yield rows, (lengths[rows] - 1 - step if reverse else np.full(len(rows), step))


def _is_reset(reset, lengths, rows, t, reverse):
    """Return which rows are reset before their time t: in the reverse direction, which comes from t + 1, at t + 1."""
    if reset is None:
        return np.zeros(len(rows), bool)
    if reverse:
        return (t + 1 < lengths[rows]) & reset[np.minimum(t + 1, len(reset) - 1), rows]
    return reset[t, rows]


def _masks_at(masks, rows, t):
    if masks is None:
        return None
    return Masks(
        None if masks.recurrent is None else masks.recurrent[rows],
        *(None if mask is None else mask[t, rows] for mask in (masks.zoneout_h, masks.zoneout_c)),
    )


def lstm_direction(
    x: np.ndarray,
    h0: np.ndarray,
    c0: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias: np.ndarray,
    lengths: np.ndarray | None = None,
    reverse: bool = False,
    *,
    extras: Extras = NO_EXTRAS,
    variant: Variant = PLAIN,
    masks: Masks | None = None,
    reset: np.ndarray | None = None,
    fresh: tuple[np.ndarray, np.ndarray] | None = None,
) -> Run:
    """Run one direction of one layer over all time steps.

    Parameters
    ----------
    x : ndarray (T, B, I)
    h0, c0 : ndarray (B, P), (B, H)
    weight_ih, weight_hh, bias, extras, variant
        As for `lstm_cell`.
    lengths : ndarray of int (B,), optional
        Real steps of each row; None: all T. The final state of a row of length 0 is its initial state.
    reverse : bool
        Run from each row's last real step to its first.
    masks : Masks, optional
        Indexed by time in both directions.
    reset : ndarray of bool (T, B), optional
        Where the state of a row is reset before the step: the steps before and after are separate sequences.
    fresh : ndarray (P,), ndarray (H,), optional
        The state that a reset sets; None: zeros.

    Returns
    -------
    Run
    """
    time, batch, _ = x.shape
    P, H = h0.shape[1], c0.shape[1]
    lengths = np.full(batch, time) if lengths is None else np.asarray(lengths)
    fresh_h, fresh_c = (0, 0) if fresh is None else fresh
    y, i, f, g, o, c_after, h_before, c_before = (
        np.zeros((time, batch, size), x.dtype) for size in (P, H, H, H, H, H, P, H)
    )
    h, c, steps = h0.copy(), c0.copy(), []
    for rows, t in _visits(lengths, reverse):
        resets = rows[_is_reset(reset, lengths, rows, t, reverse)]
        h[resets], c[resets] = fresh_h, fresh_c
        h_before[t, rows], c_before[t, rows] = h[rows], c[rows]
        step = lstm_cell(
            x[t, rows], h[rows], c[rows], weight_ih, weight_hh, bias, extras, variant, _masks_at(masks, rows, t)
        )
        i[t, rows], f[t, rows], g[t, rows], o[t, rows] = step.i, step.f, step.g, step.o
        c_after[t, rows] = c[rows] = step.c
        y[t, rows] = h[rows] = step.h
        steps.append(step)
    return Run(y, h, c, i, f, g, o, c_after, h_before, c_before, steps)


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
    *,
    extras: Extras = NO_EXTRAS,
    variant: Variant = PLAIN,
    masks: Masks | None = None,
    reset: np.ndarray | None = None,
) -> RunGradients:
    """Do the backward pass of `lstm_direction`, given the gradients of y (T, B, P), h_n (B, P) and c_n (B, H).

    The values of ``dy`` past a row's length are ignored.
    """
    time, batch, _ = x.shape
    lengths = np.full(batch, time) if lengths is None else np.asarray(lengths)
    zeros_of_weights = Extras(*(None if weight is None else np.zeros_like(weight) for weight in extras))
    grads = RunGradients(
        np.zeros_like(x), dh_n.copy(), dc_n.copy(),
        np.zeros_like(weight_ih), np.zeros_like(weight_hh), np.zeros(len(weight_ih), weight_ih.dtype), zeros_of_weights,
        np.zeros(dh_n.shape[1], dh_n.dtype), np.zeros(dc_n.shape[1], dc_n.dtype),
    )  # fmt: skip
    dh, dc = grads.h0, grads.c0  # of the state after the current step; after the loop, of the initial state
    visits = list(_visits(lengths, reverse))
    for step, (rows, t) in zip(reversed(run.steps), reversed(visits), strict=True):
        back = lstm_cell_backward(
            step, x[t, rows], run.h_before[t, rows], run.c_before[t, rows], weight_ih, weight_hh,
            dh[rows] + dy[t, rows], dc[rows], extras, variant, _masks_at(masks, rows, t),
        )  # fmt: skip
        grads.x[t, rows] = back.x
        dh[rows], dc[rows] = back.h, back.c
        resets = rows[_is_reset(reset, lengths, rows, t, reverse)]
        grads.fresh_h[...] += dh[resets].sum(axis=0)
        grads.fresh_c[...] += dc[resets].sum(axis=0)
        dh[resets], dc[resets] = 0, 0
        grads.weight_ih[...] += back.weight_ih
        grads.weight_hh[...] += back.weight_hh
        grads.bias[...] += back.bias
        for total, gradient in zip(grads.extras, back.extras, strict=True):
            if total is not None:
                total += gradient
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


def _options_of(weights, variants, masks, layer, direction):
    """Return the arguments of `lstm_direction` that make one direction of one layer a variant."""
    suffix = _suffix(layer, direction)
    return {
        "extras": Extras(*(weights.get(f"{name}_{suffix}") for name in Extras._fields)),
        "variant": variants if isinstance(variants, Variant) else variants[direction],
        "masks": None if masks is None else masks[layer][direction],
    }


def _stacked(states):
    """Stack the states of all layers and directions into one array if they have one shape."""
    return np.stack(states) if len({state.shape for state in states}) == 1 else states


def lstm(
    x: np.ndarray,
    h0: np.ndarray | Sequence[np.ndarray] | None,
    c0: np.ndarray | Sequence[np.ndarray] | None,
    weights: Mapping[str, np.ndarray],
    lengths: np.ndarray | None = None,
    dropout_masks: Sequence[np.ndarray] | None = None,
    *,
    variant: Variant | Sequence[Variant] = PLAIN,
    masks: Sequence[Sequence[Masks]] | None = None,
    reset: np.ndarray | None = None,
    residual: bool = False,
) -> Output:
    """Run an LSTM of any number of layers, in one direction or both.

    Parameters
    ----------
    x : ndarray (T, B, I)
    h0, c0 : ndarray (L*D, B, P), (L*D, B, H), or as many arrays, or None
        Ordered by layer, and in each layer by direction. None: the initial states in the weights, or zeros.
    weights : mapping of str to ndarray
        With PyTorch's names: weight_ih_l0, weight_hh_l0, and with biases bias_ih_l0 and bias_hh_l0; l1, l2, ... for
        the other layers; a suffix _reverse for the reverse direction. The additional weights of variants have the names
        of the fields of `Extras` with these suffixes; h0_l0 (P,) and c0_l0 (H,) are the learnt initial state.
    lengths : ndarray of int (B,), optional
        Real steps of each row; None: all T.
    dropout_masks : sequence of L - 1 ndarrays (T, B, D*P), optional
        Masks on the output of each layer except the last, 0 or 1 / (1 - p).
    variant : Variant, or one for each direction
    masks : sequence of L sequences of D Masks, optional
        In training; None in inference.
    reset : ndarray of bool (T, B), optional
        Where the state of a row is reset before the step.
    residual : bool
        Whether the output of every layer except the first is its h plus its input.

    Returns
    -------
    Output
    """
    layers, directions = _layers_and_directions(weights)
    learnt = h0 is None
    inputs, runs = [], []
    for layer in range(layers):
        inputs.append(x)
        runs.append([])
        for d in range(directions):
            place, suffix = layer * directions + d, _suffix(layer, d)
            W, U, b = _weights_of(weights, suffix)
            options = _options_of(weights, variant, masks, layer, d)
            sizes = {"h0": U.shape[1], "c0": len(U) // len(_gates(options["variant"]))}
            fresh = [weights.get(f"{name}_{suffix}", np.zeros(size, x.dtype)) for name, size in sizes.items()]
            state = [np.tile(array, (x.shape[1], 1)) for array in fresh] if learnt else (h0[place], c0[place])
            runs[-1].append(lstm_direction(x, *state, W, U, b, lengths, d == 1, reset=reset, fresh=fresh, **options))
        y = np.concatenate([run.y for run in runs[-1]], axis=2)
        if residual and layer > 0:
            y = y + x
        x = y if dropout_masks is None or layer == layers - 1 else y * dropout_masks[layer]
    h_n = _stacked([run.h_n for layer_runs in runs for run in layer_runs])
    c_n = _stacked([run.c_n for layer_runs in runs for run in layer_runs])
    return Output(y, h_n, c_n, inputs, runs, learnt)


def lstm_backward(
    output: Output,
    weights: Mapping[str, np.ndarray],
    dy: np.ndarray,
    dh_n: np.ndarray | Sequence[np.ndarray],
    dc_n: np.ndarray | Sequence[np.ndarray],
    lengths: np.ndarray | None = None,
    dropout_masks: Sequence[np.ndarray] | None = None,
    *,
    variant: Variant | Sequence[Variant] = PLAIN,
    masks: Sequence[Sequence[Masks]] | None = None,
    reset: np.ndarray | None = None,
    residual: bool = False,
) -> Gradients:
    """Do the backward pass of `lstm`, given the gradients of y (T, B, D*P), h_n (L*D, B, P) and c_n (L*D, B, H).

    ``output`` is the result of `lstm`; the other arguments are those of `lstm`.
    """
    layers, directions = _layers_and_directions(weights)
    dh0, dc0 = [None] * layers * directions, [None] * layers * directions
    dweights = {}
    for layer in reversed(range(layers)):
        x = output.inputs[layer]
        dx = dy.copy() if residual and layer > 0 else np.zeros_like(x)
        for d, dy_half in enumerate(np.split(dy, directions, axis=2)):
            place, suffix = layer * directions + d, _suffix(layer, d)
            W, U, _ = _weights_of(weights, suffix)
            grads = lstm_direction_backward(
                output.runs[layer][d], x, W, U, dy_half, dh_n[place], dc_n[place], lengths, d == 1,
                reset=reset, **_options_of(weights, variant, masks, layer, d),
            )  # fmt: skip
            dx += grads.x
            dh0[place], dc0[place] = grads.h0, grads.c0
            dweights[f"weight_ih_{suffix}"] = grads.weight_ih
            dweights[f"weight_hh_{suffix}"] = grads.weight_hh
            # the gates are given the sum of the two biases, so both have the same gradient
            dweights[f"bias_ih_{suffix}"] = grads.bias
            dweights[f"bias_hh_{suffix}"] = grads.bias.copy()
            dweights |= {f"{name}_{suffix}": gradient for name, gradient in grads.extras._asdict().items()}
            for name, fresh, rows in (("h0", grads.fresh_h, grads.h0), ("c0", grads.fresh_c, grads.c0)):
                dweights[f"{name}_{suffix}"] = fresh + rows.sum(axis=0) if output.learnt else fresh
        dy = dx if dropout_masks is None or layer == 0 else dx * dropout_masks[layer - 1]
    return Gradients(dx, _stacked(dh0), _stacked(dc0), {name: dweights[name] for name in weights})


def ctc(logits: np.ndarray, labels: Sequence[int], blank: int) -> tuple[float, np.ndarray]:
    """Return -log P(labels) of one row, logits (T, classes) with T above 0, and its gradient.

    Graves, Fernández, Gomez & Schmidhuber, "Connectionist temporal classification", ICML 2006, in log space: alpha
    has the log probabilities of all paths up to a state at a time, beta those of all paths from there to the end.
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
