"""Global attention: values beside plain NumPy and PyTorch, gradients beside finite differences, errors."""

import numpy as np
import pytest

from clstm._checks import random_generator
from clstm.layers.attention import Attention

BATCH, QUERIES, PLACES, WIDTH = 3, 4, 5, 6
LENGTHS = np.array([5, 1, 3])


def make(score="general", dtype=np.float64, memory_size=WIDTH):
    return Attention(WIDTH, memory_size, 7, score, dtype=dtype, seed=0)


def draw(*shape, seed=1):
    return random_generator(seed).standard_normal(shape)


def arrays(memory_size=WIDTH):
    return draw(BATCH, QUERIES, WIDTH), draw(BATCH, PLACES, memory_size, seed=2)


def by_hand(attention, queries, memory, lengths):
    """Return y and places, query by query."""
    weights = attention.parameters()
    y, places = np.zeros((BATCH, QUERIES, 7)), np.zeros((BATCH, QUERIES, PLACES))
    for b, length in enumerate(lengths):
        for t, query in enumerate(queries[b]):
            seen = memory[b, :length]
            projected = query
            if attention.score == "general":
                projected = weights["project.weight"] @ query / seen.shape[1]
            taken = np.exp(seen @ projected)
            taken /= taken.sum()
            places[b, t, :length] = taken
            y[b, t] = np.tanh(weights["combine.weight"] @ np.concatenate([taken @ seen, query]))
    return y, places


@pytest.mark.smoke
@pytest.mark.parametrize(("score", "memory_size"), [("general", 6), ("general", 9), ("dot", 6)])
def test_values_are_those_of_the_equations(score, memory_size):
    attention = make(score, memory_size=memory_size)
    queries, memory = arrays(memory_size)
    y, places = attention(queries, memory, LENGTHS)
    expected_y, expected_places = by_hand(attention, queries, memory, LENGTHS)
    np.testing.assert_allclose(y, expected_y, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(places, expected_places, rtol=1e-12, atol=1e-14)
    trained, _ = attention.forward_train(queries, memory, LENGTHS)
    np.testing.assert_array_equal(trained, y)


@pytest.mark.parametrize("score", ["general", "dot"])
def test_gradients_are_those_of_finite_differences(score):
    attention = make(score)
    queries, memory = arrays()
    dy = draw(BATCH, QUERIES, 7, seed=3)
    _, context = attention.forward_train(queries, memory, LENGTHS)
    found = attention.backward(context, dy)

    def loss():
        return float((attention(queries, memory, LENGTHS)[0] * dy).sum())

    def check(array, gradient, change):
        for index in random_generator(4).choice(array.size, 12, replace=False):
            place = np.unravel_index(index, array.shape)
            values = []
            for step in (1e-6, -1e-6):
                change(place, step)
                values.append(loss())
                change(place, -step)
            np.testing.assert_allclose(gradient[place], (values[0] - values[1]) / 2e-6, rtol=1e-6, atol=1e-8)

    for array, gradient in ((queries, found.queries), (memory, found.memory)):
        check(array, gradient, lambda place, step, array=array: array.__setitem__(place, array[place] + step))
    for name, gradient in found.weights.items():

        def change(place, step, name=name):
            with attention.updating() as weights:
                weights[name][place] += step

        check(gradient, gradient, change)
    assert list(found.weights) == list(attention.parameters())


def test_values_past_a_length_are_ignored():
    attention = make()
    queries, memory = arrays()
    y, context = attention.forward_train(queries, memory, LENGTHS)
    changed = memory.copy()
    changed[1, 1:], changed[2, 3:] = 1e3, -1e3
    np.testing.assert_array_equal(attention(queries, changed, LENGTHS)[0], y)
    gradient = attention.backward(context, np.ones_like(y)).memory
    assert not gradient[1, 1:].any()
    assert not gradient[2, 3:].any()
    assert gradient[2, :3].all()


@pytest.mark.peer
def test_pytorch_finds_the_same():
    torch = pytest.importorskip("torch")
    attention = make()
    weights = {name: torch.tensor(value, requires_grad=True) for name, value in attention.state_dict().items()}
    queries, memory = (torch.tensor(array, requires_grad=True) for array in arrays())
    dy = draw(BATCH, QUERIES, 7, seed=3)
    scores = queries @ weights["project.weight"].T @ memory.transpose(1, 2) / WIDTH
    scores = scores.masked_fill(torch.arange(PLACES) >= torch.tensor(LENGTHS)[:, None, None], -torch.inf)
    looked = scores.softmax(2) @ memory
    expected = torch.tanh(torch.cat([looked, queries], 2) @ weights["combine.weight"].T)
    expected.backward(torch.tensor(dy))

    y, context = attention.forward_train(*arrays(), LENGTHS)
    found = attention.backward(context, dy)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12, atol=1e-14)
    for gradient, like in [
        (found.queries, queries),
        (found.memory, memory),
        *((found.weights[name], weights[name]) for name in weights),
    ]:
        np.testing.assert_allclose(gradient, like.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_large_scores_dont_overflow():
    attention = make("dot", np.float32)
    queries, memory = (array.astype(np.float32) * 1e4 for array in arrays())
    y, places = attention(queries, memory, LENGTHS)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(places.sum(axis=2), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"queries": np.zeros((3, 4, 5))}, ValueError, r"queries has shape \(3, 4, 5\), expected .*query_size=6"),
        ({"queries": np.zeros((3, 4, 6), np.float32)}, TypeError, "queries has dtype float32, expected float64"),
        ({"memory": np.zeros((2, 5, 6))}, ValueError, r"memory has shape \(2, 5, 6\), expected \(batch=3"),
        ({"memory": np.zeros((3, 0, 6)), "lengths": None}, ValueError, "a row of memory has length 0"),
        ({"lengths": [5, 0, 3]}, ValueError, "a row of memory has length 0"),
        ({"lengths": [5, 6, 3]}, ValueError, r"lengths\[1\] is 6, expected 0 to 5"),
    ],
)
def test_wrong_calls_are_named(change, error, message):
    queries, memory = arrays()
    with pytest.raises(error, match=message):
        make()(**({"queries": queries, "memory": memory, "lengths": LENGTHS} | change))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="score is 'concat', expected one of 'general', 'dot'"):
        Attention(4, 4, 4, "concat")
    with pytest.raises(ValueError, match="query_size is 4 and memory_size 5; the score 'dot' needs equal ones"):
        Attention(4, 5, 4, "dot")
    attention = make()
    y, context = attention.forward_train(*arrays())
    with pytest.raises(ValueError, match="dy has shape"):
        attention.backward(context, y[1:])
    attention.backward(context, y)
    with pytest.raises(ValueError, match="used by an earlier backward"):
        attention.backward(context, y)
    assert repr(attention) == "Attention(6, 6, 7, score='general')"
