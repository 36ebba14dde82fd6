"""The CTC decoders against all paths one by one, and against the loss."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clstm
from clstm.decoding import ctc_beam, ctc_greedy
from clstm.losses import ctc


def random(shape, dtype=np.float64, seed=0, scale=2.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def one_hot(path, classes):
    """Logits (time, 1, classes) whose best path is this one."""
    return 9.0 * np.eye(classes)[list(path)][:, np.newaxis]


def probabilities_of_labellings(logits, blank):
    """The probability of everything that can be spelt in one row (time, classes), from all paths."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    total = defaultdict(float)
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        spelt = tuple(label for label, _ in itertools.groupby(path) if label != blank)
        total[spelt] += p[range(len(p)), list(path)].prod()
    return total


@pytest.mark.smoke
@pytest.mark.parametrize("decode", [ctc_greedy, lambda *args, **kwargs: ctc_beam(*args, **kwargs)[0]])
@pytest.mark.parametrize(
    ("path", "blank", "labels"),
    [
        ([0, 1, 1, 0, 1, 2, 2], 0, [1, 1, 2]),
        ([1, 1, 1], 0, [1]),
        ([0, 0], 0, []),
        ([2, 0, 0, 2, 1], 2, [0, 1]),
        ([], 0, []),
    ],
)
def test_repeats_and_blanks(decode, path, blank, labels):
    decoded = decode(one_hot(path, 3), blank=blank)
    assert [row.tolist() for row in decoded] == [labels]
    assert decoded[0].dtype == np.int64


@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2), st.integers(0, 10_000))
def test_beam_finds_the_most_probable_labels(time, classes, blank, seed):
    logits = random((time, classes), seed=seed)
    blank = min(blank, classes - 1)
    total = probabilities_of_labellings(logits, blank)
    (labels,), (score,) = ctc_beam(logits[:, np.newaxis], beam_size=2000, blank=blank)
    assert total[tuple(labels)] == pytest.approx(max(total.values()), rel=1e-12)
    assert score == pytest.approx(np.log(max(total.values())), rel=1e-12, abs=1e-12)


@given(st.integers(1, 12), st.integers(0, 1000))
def test_scores_of_a_small_beam_are_lower_bounds(beam_size, seed):
    logits = random((15, 4, 5), seed=seed)
    labels, scores = ctc_beam(logits, beam_size=beam_size)
    counts = [len(row) for row in labels]
    losses, _ = ctc(logits, np.concatenate(labels), [15] * 4, counts, reduction="none")
    assert (scores <= -losses + 1e-12).all()


def test_a_prefix_that_returns_to_the_beam_is_merged_with_its_extensions():
    """A beam of any size never holds one labelling twice: its scores would be too low for the best one's sum."""
    for seed in range(200):
        logits = random((8, 1, 3), seed=seed, scale=0.3)
        (labels,), (score,) = ctc_beam(logits, beam_size=400)
        loss, _ = ctc(logits, labels, [8], [len(labels)], reduction="sum")
        assert score == pytest.approx(-loss, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_decodes_the_same_alone_and_in_a_batch(dtype):
    logits = random((30, 5, 6), dtype)
    lengths = np.array([30, 0, 7, 1, 22])
    for row, length in enumerate(lengths):
        logits[length:, row] = np.nan
    greedy = ctc_greedy(logits, lengths, blank=2)
    beam, scores = ctc_beam(logits, lengths, 8, blank=2)
    for row, length in enumerate(lengths):
        alone = logits[:length, row : row + 1]
        assert greedy[row].tolist() == ctc_greedy(alone, blank=2)[0].tolist()
        (labels,), (score,) = ctc_beam(alone, None, 8, blank=2)
        assert beam[row].tolist() == labels.tolist()
        assert scores[row] == score
    assert scores[1] == 0


def test_any_strides_and_any_number_of_threads():
    logits = random((40, 7, 5), np.float32)
    labels, scores = ctc_beam(logits)
    batch_first = np.ascontiguousarray(logits.swapaxes(0, 1)).swapaxes(0, 1)
    try:
        for num_threads in (1, 2, 5):
            clstm.set_num_threads(num_threads)
            for same in (logits, batch_first):
                again, scores_again = ctc_beam(same)
                np.testing.assert_array_equal(scores_again, scores)
                assert [row.tolist() for row in again] == [row.tolist() for row in labels]
    finally:
        clstm.set_num_threads(None)


def test_classes_that_are_impossible():
    logits = random((6, 1, 4))
    logits[:, :, [0, 3]] = -np.inf  # no blank, so no label can follow itself
    (labels,), (score,) = ctc_beam(logits, beam_size=100)
    assert set(labels.tolist()) <= {1, 2}
    assert all(a != b for a, b in itertools.pairwise(labels))
    assert score == pytest.approx(-ctc(logits, labels, [6], [len(labels)], reduction="sum")[0], rel=1e-12)


def test_an_empty_batch():
    assert ctc_greedy(np.zeros((3, 0, 2))) == []
    labels, scores = ctc_beam(np.zeros((3, 0, 2)))
    assert labels == []
    assert scores.shape == (0,)


def test_wrong_arguments():
    logits = random((4, 2, 3))
    for decode in (ctc_greedy, ctc_beam):
        with pytest.raises(ValueError, match=r"logits has shape \(4, 2\), expected"):
            decode(logits[:, :, 0])
        with pytest.raises(TypeError, match="logits has dtype int64"):
            decode(np.zeros((4, 2, 3), int))
        with pytest.raises(ValueError, match=r"lengths\[1\] is 5, expected 0 to 4"):
            decode(logits, [4, 5])
        with pytest.raises(ValueError, match="blank is 3"):
            decode(logits, blank=3)
        with pytest.raises(ValueError, match="logits holds NaN"):
            decode(np.full((4, 2, 3), np.nan))
    with pytest.raises(ValueError, match="beam_size is 0"):
        ctc_beam(logits, beam_size=0)
