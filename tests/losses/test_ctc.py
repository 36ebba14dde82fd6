"""The CTC loss against all alignments one by one, plain NumPy, finite differences and PyTorch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clstm
from clstm import reference
from clstm.losses import ctc

DTYPES = (np.float32, np.float64)


def random(shape, dtype=np.float64, seed=0, scale=2.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def spelt(path, blank):
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def by_enumeration(logits, labels, blank):
    """-log of the sum of the probabilities of all paths that spell `labels`."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    paths = itertools.product(range(p.shape[1]), repeat=len(p))
    total = sum(p[range(len(p)), list(path)].prod() for path in paths if spelt(path, blank) == tuple(labels))
    return -np.log(total) if total > 0 else np.inf


def ragged(seed=0, dtype=np.float64, batch=6, time=20, classes=5, blank=0, most=7):
    """A batch of rows that all can spell their labels: some without labels, many with repeated ones."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, most + 1, batch)
    counts[0] = 0
    targets = generator.integers(0, classes - 1, (batch, most))
    targets += targets >= blank
    lengths = np.minimum(2 * counts + generator.integers(0, time, batch), time)
    return random((time, batch, classes), dtype, seed), targets, lengths, counts


@st.composite
def tiny_rows(draw):
    classes = draw(st.integers(2, 3))
    blank = draw(st.integers(0, classes - 1))
    labels = draw(st.lists(st.sampled_from([c for c in range(classes) if c != blank]), max_size=4))
    return random((draw(st.integers(1, 6)), classes), seed=draw(st.integers(0, 1000))), labels, blank


@given(tiny_rows())
def test_equals_the_sum_over_all_alignments(row):
    logits, labels, blank = row
    loss, _ = ctc(logits[:, None], labels, [len(logits)], [len(labels)], blank=blank, reduction="sum")
    assert loss == pytest.approx(by_enumeration(logits, labels, blank), rel=1e-12, abs=1e-12)


@pytest.mark.smoke
@given(st.integers(0, 10_000), st.integers(0, 4))
def test_equals_the_reference(seed, blank):
    logits, targets, lengths, counts = ragged(seed, blank=blank)
    losses, gradient = ctc(logits, targets, lengths, counts, blank=blank, reduction="none")
    for b, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        assert not gradient[length:, b].any()
        if length:
            loss, expected = reference.ctc(logits[:length, b], targets[b, :count], blank)
            assert losses[b] == pytest.approx(loss, rel=1e-12, abs=1e-12)
            np.testing.assert_allclose(gradient[:length, b], expected, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"reduction": "sum"}, {"sample_weight": np.array([1, 0, 2, 0.5, 1, 3])}, {"zero_infinity": True}]
)
def test_gradient_against_finite_differences(options):
    logits, targets, lengths, counts = ragged(1)
    value, gradient = ctc(logits, targets, lengths, counts, **options)
    assert type(value) is float
    for seed in range(3):
        step = 1e-6 * random(logits.shape, seed=seed)
        ends = [ctc(logits + sign * step, targets, lengths, counts, **options)[0] for sign in (1, -1)]
        np.testing.assert_allclose(2 * (gradient * step).sum(), ends[0] - ends[1], rtol=1e-6, atol=1e-12)


@pytest.mark.peer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("concatenated", [False, True])
def test_against_pytorch(dtype, reduction, zero_infinity, concatenated):
    torch = pytest.importorskip("torch")
    logits, targets, lengths, counts = ragged(2, dtype, batch=9, time=40, classes=7, blank=3)
    targets[1], counts[1], lengths[1] = 5, 4, 7  # just long enough for the blanks between
    if zero_infinity:
        counts[2], lengths[2] = 5, 4
        targets[3], counts[3], lengths[3] = 1, 4, 6
    if concatenated:
        targets = np.concatenate([row[:count] for row, count in zip(targets, counts, strict=True)])
    loss, gradient = ctc(
        logits, targets, lengths, counts, blank=3, reduction=reduction, zero_infinity=zero_infinity
    )  # fmt: skip

    leaf = torch.from_numpy(logits.copy()).requires_grad_()
    others = [torch.from_numpy(np.asarray(a)) for a in (targets, lengths, counts)]
    expected = torch.nn.functional.ctc_loss(
        leaf.log_softmax(-1), *others, blank=3, reduction=reduction, zero_infinity=zero_infinity
    )
    expected.sum().backward()
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(loss, expected.detach().numpy(), rtol=tolerance)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), atol=10 * tolerance)
    assert gradient.dtype == dtype


def test_log_probabilities_are_their_own_logits():
    logits, targets, lengths, counts = ragged(3)
    log_p = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    loss, gradient = ctc(logits, targets, lengths, counts)
    again, gradient_again = ctc(log_p, targets, lengths, counts)
    assert again == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(gradient_again, gradient, atol=1e-14)


def test_rows_too_short_for_their_labels():
    logits = random((5, 3, 4))
    arguments = (logits, [[1, 2, 3], [1, 1, 1], [2, 2, 3]], [2, 4, 5], [3, 3, 3])
    losses, gradient = ctc(*arguments, reduction="none")
    assert (np.isinf(losses) == [True, True, False]).all()
    assert np.isnan(gradient[:2, 0]).all()
    assert not gradient[2:, 0].any()
    assert np.isfinite(gradient[:, 2]).all()
    losses, gradient = ctc(*arguments, reduction="none", zero_infinity=True)
    assert (losses[:2] == 0).all()
    assert losses[2] > 0
    assert not gradient[:, :2].any()


def test_rows_without_steps():
    losses, gradient = ctc(random((3, 2, 4)), [[1], [1]], [0, 0], [0, 1], reduction="none")
    assert losses.tolist() == [0, np.inf]
    assert not gradient.any()


def test_steps_past_a_length_and_rows_of_weight_zero_are_ignored():
    logits, targets, lengths, counts = ragged(4)
    weight = np.array([1.0, 0, 1, 1, 1, 1])
    expected = ctc(logits, targets, lengths, counts, sample_weight=weight)
    for row, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        logits[length:, row] = np.nan
        targets[row, count:] = -100
    logits[:, 1] = np.inf
    loss, gradient = ctc(logits, targets, lengths, counts, sample_weight=weight)
    assert loss == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])


def test_nan_is_not_hidden():
    logits = random((6, 2, 4))
    logits[3, 1, 2] = np.nan
    losses, gradient = ctc(logits, [[1, 2], [1, 2]], [6, 6], [2, 2], reduction="none", zero_infinity=True)
    assert np.isfinite(losses[0])
    assert np.isnan(losses[1])
    assert np.isfinite(gradient[:, 0]).all()
    assert np.isnan(gradient[:, 1]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows_and_large_logits(dtype):
    logits = random((3000, 2, 5), dtype, scale=300)
    logits[::7, :, 2] = -np.inf
    targets = np.random.default_rng(0).integers(1, 5, (2, 400))
    losses, gradient = ctc(logits, targets, [3000, 3000], [400, 400], reduction="none")
    assert np.isfinite(losses).all()
    np.testing.assert_allclose(gradient.sum(axis=2), 0, atol=1e-4 if dtype == np.float32 else 1e-8)


def test_any_strides_and_any_number_of_threads():
    logits, targets, lengths, counts = ragged(5, np.float32, batch=13, time=50)
    expected = ctc(logits, targets, lengths, counts)
    batch_first = np.ascontiguousarray(logits.swapaxes(0, 1)).swapaxes(0, 1)
    try:
        for num_threads in (1, 2, 5):
            clstm.set_num_threads(num_threads)
            for same in (logits, batch_first):
                loss, gradient = ctc(same, targets, lengths, counts)
                assert loss == expected[0]
                np.testing.assert_array_equal(gradient, expected[1])
    finally:
        clstm.set_num_threads(None)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": np.zeros((4, 5))}, ValueError, r"logits has shape \(4, 5\), expected \(time, batch, classes\)"),
        ({"logits": np.zeros((4, 2, 5), int)}, TypeError, "logits has dtype int64"),
        ({"targets": [[1, 2, 3]]}, ValueError, r"targets has shape \(1, 3\), expected \(batch=2, labels\)"),
        ({"targets": [1, 2]}, ValueError, "targets has 2 labels, expected 3, the sum of target_lengths"),
        ({"targets": [[1, 5], [1, 1]]}, ValueError, "targets holds the id 5, expected 0 to 4"),
        ({"targets": [[1, 0], [1, 1]]}, ValueError, "targets holds 0, which is the blank"),
        ({"targets": [[1.0, 2], [1, 1]]}, TypeError, "targets has dtype float64, expected integers"),
        ({"input_lengths": [4, 5]}, ValueError, r"input_lengths\[1\] is 5, expected 0 to 4"),
        ({"input_lengths": [4]}, ValueError, r"input_lengths has shape \(1,\), expected \(batch=2,\)"),
        ({"input_lengths": [4.0, 4]}, TypeError, "input_lengths has dtype float64, expected integers"),
        ({"target_lengths": [3, 1]}, ValueError, r"target_lengths\[0\] is 3, expected 0 to 2"),
        ({"target_lengths": [-1, 1]}, ValueError, r"target_lengths\[0\] is -1"),
        ({"blank": 5}, ValueError, "blank is 5"),
        ({"reduction": "max"}, ValueError, "reduction is 'max', expected one of"),
        ({"zero_infinity": 1}, TypeError, "zero_infinity is 1, expected True or False"),
        ({"sample_weight": np.zeros(2)}, ValueError, "sample_weight is 0 throughout"),
        ({"sample_weight": np.zeros(3)}, ValueError, r"sample_weight has shape \(3,\)"),
        ({"logits": np.zeros((4, 0, 5))}, ValueError, "the mean of nothing"),
    ],
)
def test_wrong_arguments(change, error, message):
    arguments = {
        "logits": np.zeros((4, 2, 5)), "targets": [[1, 2], [3, 0]], "input_lengths": [4, 4], "target_lengths": [2, 1],
    }  # fmt: skip
    ctc(**arguments)
    with pytest.raises(error, match=message):
        ctc(**{**arguments, **change})
