"""Each context serves one backward of the layer or network that made it."""

import numpy as np
import pytest

import clstm
from clstm.forecasting.distributions import Normal
from clstm.forecasting.network import ForecastNetwork
from clstm.layers import AdaptiveLogSoftmax, Attention, Dropout, Embedding, Linear
from clstm.models import LSTMClassifierNetwork, SequenceNetwork
from clstm.translation import EncoderDecoder

X = np.ones((4, 5, 3), np.float32)
IDS = np.array([[0, 1, 2], [3, 2, 1]])
CASES = {  # a new layer or network, and the arguments of its forward_train
    "Linear": (lambda: Linear(3, 2), (X,)),
    "Dropout": (lambda: Dropout(0.5), (X,)),
    "Embedding": (lambda: Embedding(4, 2), (IDS,)),
    "Attention": (lambda: Attention(3, 3, 2), (X, X)),
    "AdaptiveLogSoftmax": (lambda: AdaptiveLogSoftmax(3, 6, [2]), (X[0], [0, 1, 2, 3, 4])),
    "LSTM": (lambda: clstm.LSTM(3, 2), (X,)),
    "LSTMCell": (lambda: clstm.LSTMCell(3, 2), (X[0],)),
    "SequenceNetwork": (lambda: SequenceNetwork(3, 4, 2), (X,)),
    "LSTMClassifierNetwork": (lambda: LSTMClassifierNetwork(3, 4, 5, 2, 1), (IDS,)),
    "EncoderDecoder": (lambda: EncoderDecoder(5, 5, 3, 4), (IDS, IDS)),
    "ForecastNetwork": (lambda: ForecastNetwork(3, 4, 1, 1, Normal()), (X,)),
}


def gradient_of(outputs):
    """Return what backward takes beside the context: a gradient like the first output; nothing for a loss."""
    return () if isinstance(outputs[0], float) else outputs[:1]


@pytest.mark.parametrize("name", CASES)
def test_a_context_serves_one_backward_of_its_owner(name):
    make, arguments = CASES[name]
    layer, other = make(), make()
    *outputs, context = layer.forward_train(*arguments)
    gradient = gradient_of(outputs)
    for wrong in (None, X, context.owner):
        with pytest.raises(TypeError, match=f"context is {type(wrong).__name__}, expected what forward_train returned"):
            layer.backward(wrong, *gradient)
    with pytest.raises(ValueError, match=r"^context is of another layer or network$"):
        other.backward(context, *gradient)
    layer.backward(context, *gradient)
    with pytest.raises(ValueError, match=r"^context was used by an earlier backward; run forward_train again$"):
        layer.backward(context, *gradient)
    with pytest.raises(ValueError, match="another layer or network"):
        other.backward(context, *gradient)


@pytest.mark.parametrize("name", CASES)
def test_a_context_of_another_kind(name):
    make, arguments = CASES[name]
    layer, linear = make(), Linear(3, 2)
    *outputs, _ = layer.forward_train(*arguments)
    _, context = linear.forward_train(X)
    with pytest.raises((TypeError, ValueError), match="context is"):
        layer.backward(context, *gradient_of(outputs))
    linear.backward(context, X[..., :2])  # it hasn't been used


def test_a_used_context_keeps_nothing():
    layer = Linear(3, 2)
    y, context = layer.forward_train(X)
    assert context.kept is not None
    layer.backward(context, y)
    assert context.kept is None


def test_a_context_can_be_used_after_a_wrong_gradient():
    network = EncoderDecoder(5, 5, 3, 4, seed=0)
    scores, context = network.forward_train(IDS, IDS)
    with pytest.raises(ValueError, match="dy has shape"):
        network.backward(context, scores[:1])
    assert network.backward(context, scores)
