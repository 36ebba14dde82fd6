import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clstm.train.batches import BucketedBatches, batches_by_length

LENGTHS = st.lists(st.integers(0, 60), max_size=200)


@given(lengths=LENGTHS, batch_size=st.integers(1, 40), pool=st.integers(1, 8), seed=st.integers(0, 9))
def test_every_row_is_in_one_batch_of_each_epoch(lengths, batch_size, pool, seed):
    batches = BucketedBatches(lengths, batch_size, pool=pool, seed=seed)
    for _ in range(2):
        epoch = list(batches)
        assert len(epoch) == len(batches)
        assert all(1 <= len(rows) <= batch_size for rows in epoch)
        assert sorted(row for rows in epoch for row in rows) == list(range(len(lengths)))


def test_lengths_in_a_batch_are_similar_and_batches_shuffled():
    lengths = np.random.default_rng(0).integers(1, 60, 4000)
    epoch = list(BucketedBatches(lengths, 32, seed=0))
    spread = np.mean([np.ptp(lengths[rows]) for rows in epoch])
    assert spread < 6  # of batches of any lengths: 55
    means = np.array([lengths[rows].mean() for rows in epoch])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.25  # neighbours have nothing in common


def test_the_same_seed_gives_the_same_epochs_which_differ():
    lengths = np.arange(100) % 17
    first, second = (BucketedBatches(lengths, 8, seed=3) for _ in "12")
    epochs = [[rows.tolist() for rows in first] for _ in range(2)]
    assert epochs == [[rows.tolist() for rows in second] for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert epochs[0] != [rows.tolist() for rows in BucketedBatches(lengths, 8, seed=4)]


@given(lengths=LENGTHS, batch_size=st.integers(1, 40), max_steps=st.integers(1, 500))
def test_by_length_bounds_rows_and_steps(lengths, batch_size, max_steps):
    batches = list(batches_by_length(lengths, batch_size, max_steps))
    rows = [row for batch in batches for row in batch]
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[row] for row in rows] == sorted(lengths)
    for batch in batches:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= max_steps


def test_by_length_fills_the_batches():
    assert [len(rows) for rows in batches_by_length([5] * 10, 4, 1000)] == [4, 4, 2]
    assert [len(rows) for rows in batches_by_length([5] * 10, 4, 15)] == [3, 3, 3, 1]
    assert list(batches_by_length([], 4, 15)) == []


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([1.5, 2.0], TypeError, "lengths has dtype float64, expected integers"),
        ([[1, 2]], ValueError, r"lengths has shape \(1, 2\), expected \(rows,\)"),
        ([3, -1], ValueError, "lengths holds -1, expected 0 or more"),
    ],
)
def test_bad_lengths(lengths, error, message):
    with pytest.raises(error, match=message):
        BucketedBatches(lengths, 2)
    with pytest.raises(error, match=message):
        list(batches_by_length(lengths, 2, 10))


def test_bad_sizes():
    with pytest.raises(ValueError, match="batch_size is 0"):
        BucketedBatches([1], 0)
    with pytest.raises(ValueError, match="pool is 0"):
        BucketedBatches([1], 2, pool=0)
    with pytest.raises(ValueError, match="max_steps is 0"):
        list(batches_by_length([1], 2, 0))
