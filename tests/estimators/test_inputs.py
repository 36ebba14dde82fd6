import numpy as np
import pytest

from clstm.estimators.inference import run
from clstm.estimators.reading import cut_to_lengths, kind_of, read_floats, read_ids, read_step_targets
from clstm.estimators.samples import Samples, mean_and_scale
from clstm.models import SequenceNetwork
from clstm.train.batches import PaddedRows


def objects(rows):
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


@pytest.mark.parametrize(
    ("X", "kind"),
    [
        (np.zeros((2, 3)), "table"),
        (np.zeros(3), "table"),  # refused when it is read
        ([[1.0, 2.0], [3.0, 4.0]], "table"),
        ([], "table"),
        (np.zeros((2, 3, 4)), "sequences"),
        ([np.zeros((2, 3)), np.zeros((1, 3))], "sequences"),
        ([[[1, 2], [3, 4]], [[5, 6]]], "sequences"),
        (objects([np.zeros((2, 3)), np.zeros((1, 3))]), "sequences"),
        ([np.zeros(3), np.zeros(3)], "sequences"),
        ([[1.0], [2.0, 3.0]], "sequences"),
        ([[1, 2], [3]], "ids"),
        ([[1, 2], [3, 4]], "ids"),
        ([np.array([1, 2]), np.array([3])], "ids"),
        (["a b", "c"], "texts"),
        (np.array(["a b", "c"]), "texts"),
        (objects(["a b", "c"]), "texts"),
    ],
)
def test_kinds(X, kind):
    assert kind_of(X) == kind


def test_rows_from_every_form():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(time, 2)).astype(np.float32) for time in (3, 1, 4)]
    padded = np.full((3, 4, 2), np.nan, np.float32)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    for read in (read_floats(rows), read_floats(objects(rows)), read_floats(padded, [3, 1, 4])):
        assert read.lengths.tolist() == [3, 1, 4]
        assert read.values.dtype == np.float32
        np.testing.assert_array_equal(read.values, np.concatenate(rows))
    np.testing.assert_array_equal(read_floats([[1, 2], [3]]).values, [[1.0], [2.0], [3.0]])
    assert read_ids([[1, 2], [], [3]], None).lengths.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: read_floats(np.zeros((2, 3, 1)), [2, 4]), r"lengths\[1\] is 4, expected 0 to 3"),
        (lambda: read_floats(np.zeros((2, 3, 1)), [2, 0]), r"X\[1\] has no steps"),
        (lambda: read_floats(np.zeros((2, 3, 0))), "X has 0 features"),
        (lambda: read_floats([np.zeros((2, 3, 1))]), r"X\[0\] has shape \(2, 3, 1\), expected \(time, features\)"),
        (lambda: read_ids([[1], [-2]], None), "X holds the id -2"),
        (lambda: read_ids([[1], [5]], 5), "X holds the id 5, expected 0 to 4"),
        (lambda: read_step_targets([[1], [1, 2]], PaddedRows([np.zeros(1), np.zeros(1)]), None), r"y\[1\] has 2 steps"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_padding_and_taking_rows():
    rows = [np.arange(6.0).reshape(3, 2), np.ones((1, 2)), np.full((2, 2), 7.0)]
    kept = PaddedRows(rows)
    batch, lengths = kept.batch(np.array([1, 0]))
    np.testing.assert_array_equal(batch, [[[1, 1], [0, 0], [0, 0]], rows[0]])
    assert lengths.tolist() == [1, 3]
    np.testing.assert_array_equal(kept.take(np.array([2, 0])).values, np.concatenate([rows[2], rows[0]]))
    cut = cut_to_lengths(np.array([[[1], [9]], [[2], [3]]]), [1, 2])
    assert cut.values.tolist() == [[1], [2], [3]]


def test_batches_of_samples():
    rows = PaddedRows([np.zeros((2, 1)), np.zeros((1, 1))])
    targets = PaddedRows.end_to_end(np.array([4, 5, 6]), rows.lengths)
    both = np.arange(2)
    *_, y, weight = Samples(rows, targets, None, np.dtype(np.float64)).batch(both)
    assert y.tolist() == [[4, 5], [6, 0]]
    assert weight.tolist() == [[1, 1], [1, 0]]
    weighted = Samples(rows, targets, np.array([2.0, 3.0]), np.dtype(np.float64))
    assert weighted.batch(both)[3].tolist() == [[2, 2], [3, 0]]
    assert weighted.flat_weight().tolist() == [2, 2, 3]
    assert weighted.take(np.array([1])).flat_targets().tolist() == [6]
    assert Samples(rows, np.array([1, 0]), None, np.dtype(np.float64)).batch(both)[3] is None


def test_mean_and_scale_with_weights_are_those_of_repeated_rows():
    rng = np.random.default_rng(0)
    values, times = rng.normal(3, 2, (20, 2)), rng.integers(0, 4, 20)
    values[:, 1] = 0.1
    mean, scale = mean_and_scale(values, times.astype(float))
    repeated = values.repeat(times, axis=0)
    np.testing.assert_allclose(mean, repeated.mean(axis=0))
    np.testing.assert_allclose(scale, [repeated[:, 0].std(), 1])  # constant columns stay as they are
    for copy in (np.asfortranarray(values), values[::1]):
        assert mean_and_scale(copy, None)[0].tobytes() == mean_and_scale(values, None)[0].tobytes()


@pytest.mark.parametrize("pooling", ["mean", None])
def test_run_is_one_call_a_row(pooling):
    rng = np.random.default_rng(0)
    network = SequenceNetwork(2, 5, 3, bidirectional=True, pooling=pooling, seed=0)
    rows = PaddedRows([rng.normal(size=(time, 2)).astype(np.float32) for time in (3, 7, 1, 5, 5)])
    out = run(network, rows, batch_size=2)
    alone = [network(rows.batch(np.array([row]))[0])[0][0] for row in range(5)]
    np.testing.assert_allclose(out, alone if pooling else np.concatenate(alone), rtol=1e-5, atol=1e-7)
