"""Truncated backpropagation as docs/long-sequences.md has it, against the whole and against PyTorch; the docs' code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import clstm
from clstm.losses import mse
from clstm.optim import SGD

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["long-sequences.md", "training-parts.md"])
def test_code_of_the_page_runs(page):
    """All of it in turn, with its own assertions."""
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code, page, "exec"), names)
    assert "np" in names


# The loop of the page, for a regression: y is to be like `target`.


def sequence(T=24, B=3, inputs=4, H=6):
    rng = np.random.default_rng(0)
    return rng.standard_normal((T, B, inputs)), rng.standard_normal((T, B, H))


def layer(num_layers=2):
    return clstm.LSTM(4, 6, num_layers, dtype=np.float64, seed=0)


def train(lstm, x, target, chunk, lengths=None, lr=0.5, **options):
    """Take a step of SGD after each chunk; return the losses and all states."""
    optimizer, state = SGD(lstm, lr=lr), None
    losses, states = [], []
    for start in range(0, len(x), chunk):
        part = slice(start, start + chunk)
        left = None if lengths is None else np.clip(lengths - start, 0, chunk)
        y, state, context = lstm.forward_train(x[part], state, left, **options)
        loss, dy = mse(y, target[part])
        optimizer.step(lstm.backward(context, dy).weights)
        losses.append(loss)
        states.append(state)
    return losses, states


def test_one_chunk_is_backpropagation_through_all():
    x, target = sequence()
    chunked, whole = layer(), layer()
    train(chunked, x, target, len(x))
    y, _, context = whole.forward_train(x)
    SGD(whole, lr=0.5).step(whole.backward(context, mse(y, target)[1]).weights)
    for name, weight in chunked.parameters().items():
        assert weight.tobytes() == whole.parameters()[name].tobytes(), name


@pytest.mark.parametrize("chunk", [1, 5, 8, 24])
@pytest.mark.parametrize("lengths", [None, [24, 0, 11]])
def test_state_carried_is_that_of_the_whole(chunk, lengths):
    x, target = sequence()
    lengths = None if lengths is None else np.array(lengths)
    _, states = train(layer(), x, target, chunk, lengths, lr=0.0)
    for done, (h, c) in zip(range(chunk, 24 + chunk, chunk), states, strict=True):
        so_far = x[:done]
        _, (h_n, c_n) = layer()(so_far, lengths=None if lengths is None else np.minimum(lengths, len(so_far)))
        np.testing.assert_allclose(h, h_n, rtol=0, atol=1e-14)
        np.testing.assert_allclose(c, c_n, rtol=0, atol=1e-14)


@pytest.mark.peer
@pytest.mark.parametrize("chunk", [1, 5, 8, 24])
def test_chunks_like_torch_with_detached_states(chunk):
    torch = pytest.importorskip("torch")
    x, target = sequence()
    lstm = layer()
    peer = torch.nn.LSTM(4, 6, 2, dtype=torch.float64)
    peer.load_state_dict({name: torch.from_numpy(value) for name, value in lstm.state_dict().items()})
    losses, _ = train(lstm, x, target, chunk)

    optimizer, state, expected = torch.optim.SGD(peer.parameters(), lr=0.5), None, []
    for start in range(0, len(x), chunk):
        part = slice(start, start + chunk)
        y, state = peer(torch.from_numpy(x[part]), state)
        state = tuple(array.detach() for array in state)
        loss = torch.nn.functional.mse_loss(y, torch.from_numpy(target[part]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    for name, weight in lstm.parameters().items():
        np.testing.assert_allclose(weight, peer.state_dict()[name].numpy(), rtol=0, atol=1e-12, err_msg=name)


def test_gradients_across_chunks_by_hand_are_those_of_the_whole():
    x, target = sequence()
    lstm, chunk = layer(), 8
    y, _, context = lstm.forward_train(x)
    _, dy = mse(y, target)
    whole = lstm.backward(context, dy)
    state, contexts = None, []
    for start in range(0, 24, chunk):
        _, state, context = lstm.forward_train(x[start : start + chunk], state)
        contexts.append(context)
    dstate, total = None, {name: np.zeros_like(weight) for name, weight in lstm.parameters().items()}
    for start, context in zip((16, 8, 0), contexts[::-1], strict=True):
        grads = lstm.backward(context, dy[start : start + chunk], dstate)
        dstate = grads.h0, grads.c0
        np.testing.assert_allclose(grads.x, whole.x[start : start + chunk], rtol=0, atol=1e-14)
        for name, gradient in grads.weights.items():
            total[name] += gradient
    np.testing.assert_allclose(grads.h0, whole.h0, rtol=0, atol=1e-14)
    for name, gradient in total.items():
        np.testing.assert_allclose(gradient, whole.weights[name], rtol=0, atol=1e-13, err_msg=name)


def test_chunks_may_have_checkpoints(monkeypatch):
    monkeypatch.setattr(clstm.layers.gradient_checkpoint, "MIN_POSITIONS", 1)
    x, target = sequence()
    plain, checkpointed = layer(), layer()
    losses, _ = train(plain, x, target, 12)
    assert len(clstm.layers.gradient_checkpoint.cut(12, 3)) > 1
    np.testing.assert_allclose(train(checkpointed, x, target, 12, checkpoint=True)[0], losses, rtol=1e-10)
