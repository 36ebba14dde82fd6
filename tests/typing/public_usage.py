"""The public API as typed code uses it: mypy checks this file, nothing runs it.

`assert_type` fails where a result has another type than users are told, and a wrong call is marked with the error that
mypy must report, so that one which is accepted fails too (``warn_unused_ignores``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import clstm
import clstm.keras
import clstm.onnx
from clstm import decoding, files, forecasting, layers, losses, models, optim, schedules, train
from clstm.stream import Stream

if TYPE_CHECKING:
    from typing_extensions import assert_type

    from clstm.estimators import BaseModel

State = tuple[np.ndarray, np.ndarray]


def use_layers(x: np.ndarray, ids: np.ndarray) -> None:
    lstm = clstm.LSTM(3, 4, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    y, (h_n, c_n) = lstm(x)
    assert_type(y, np.ndarray)
    assert_type(h_n, np.ndarray)
    y, state = lstm(x, (h_n, c_n), lengths=[3, 2])
    assert_type(state, State)

    y, (h_n, c_n), context = lstm.forward_train(x)
    gradients = lstm.backward(context, y, (h_n, c_n))
    assert_type(gradients.x, np.ndarray | None)
    assert_type(gradients.weights["weight_ih_l0"], np.ndarray | clstm.RowGradient)
    assert_type(lstm.parameters(), dict[str, np.ndarray])
    lstm.load_state_dict(lstm.state_dict())
    assert_type(lstm.num_parameters(), int)

    cell = clstm.LSTMCell(3, 4)
    h, c = cell(x)
    assert_type(h, np.ndarray)
    (h, c), cell_context = cell.forward_train(x, (h, c))
    assert_type(cell.backward(cell_context, (h, c)).h0, np.ndarray)

    assert_type(clstm.Embedding(10, 4)(ids), np.ndarray)
    linear = layers.Linear(4, 2)
    out, linear_context = linear.forward_train(y)
    assert_type(linear.backward(linear_context, out).x, np.ndarray | None)
    assert_type(clstm.Dropout(0.5)(x), np.ndarray)

    clstm.LSTM("3", 4)  # type: ignore[arg-type]
    clstm.LSTM(3, 4, hidden=2)  # type: ignore[call-arg]
    lstm.backward(y, y)  # type: ignore[arg-type]


def use_stream(x: np.ndarray) -> None:
    stream = clstm.LSTM(3, 4).stream(batch_size=2)
    assert_type(stream, Stream)
    assert_type(stream.step(x), np.ndarray)


def use_losses(logits: np.ndarray, targets: np.ndarray) -> None:
    loss, gradient = losses.cross_entropy(logits, targets, label_smoothing=0.1)
    assert_type(loss, float)
    assert_type(gradient, np.ndarray)
    assert_type(losses.mse(logits, targets), tuple[float, np.ndarray])
    losses.huber(logits, targets, delta="1")  # type: ignore[arg-type]
    decoding.ctc_greedy(logits)


def use_training(x: np.ndarray, targets: np.ndarray) -> None:
    network = models.SequenceNetwork(3, 4, 2, seed=0)
    optimizer = optim.AdamW(network, lr=1e-3, weight_decay=0.1)

    def loss_step(rows: np.ndarray) -> tuple[float, dict[str, np.ndarray | clstm.RowGradient]]:
        out, _, context = network.forward_train(x[rows])
        loss, dout = losses.cross_entropy(out, targets[rows])
        return loss, network.backward(context, dout).weights

    history = train.fit(
        optimizer,
        loss_step,
        train.BucketedBatches([3, 2], batch_size=2, seed=0),
        n_epochs=2,
        clip_norm=1.0,
        schedule=schedules.CosineLR(optimizer, total_steps=10),
    )
    assert_type(history, train.History)
    assert_type(history.train_loss, list[float])
    assert_type(history.best_epoch, int | None)

    gradients = loss_step(x)[1]
    assert_type(optim.clip_grad_norm(gradients, 1.0), float)
    optimizer.step(gradients)
    assert_type(optimizer.lr, float)
    with optim.ExponentialMovingAverage(network, 0.99).applied():
        pass
    optim.SGD(network, momentum=None)  # type: ignore[arg-type]


def use_text_classifier(texts: list[str], labels: list[str], path: Path) -> None:
    classifier = clstm.TextClassifier(hidden_size=8, seed=0).fit(texts, labels)
    assert_type(classifier, clstm.TextClassifier)
    assert_type(classifier.predict(texts), np.ndarray)
    assert_type(classifier.predict_proba(texts), np.ndarray)
    assert_type(classifier.score(texts, labels), float)
    classifier.save(path)
    assert_type(clstm.TextClassifier.load(path), clstm.TextClassifier)
    assert_type(clstm.load(path), BaseModel)
    clstm.TextClassifier(8)  # type: ignore[call-arg]
    clstm.TextClassifier(hidden_size="8")  # type: ignore[arg-type]


def use_estimators(sequences: list[np.ndarray], labels: list[str], values: np.ndarray) -> None:
    classifier = clstm.LSTMClassifier(n_epochs=1, random_state=0).fit(sequences, labels)
    assert_type(classifier, clstm.LSTMClassifier)
    classifier.predict_proba(sequences)
    regressor = clstm.LSTMRegressor(loss="huber").fit(sequences, values)
    assert_type(regressor, clstm.LSTMRegressor)
    regressor.predict(sequences)
    clstm.LSTMRegressor(n_epochs="many")  # type: ignore[arg-type]


def use_forecaster(values: np.ndarray) -> None:
    forecaster = clstm.LSTMForecaster(season_length=[7, 365], seed=0).fit(values)
    assert_type(forecaster, clstm.LSTMForecaster)
    found = forecaster.predict(14, level=[80, 95])
    if isinstance(found, forecasting.Forecast):
        assert_type(found.point, np.ndarray)
    assert_type(forecaster.update(values), clstm.LSTMForecaster)
    forecaster.predict("14")  # type: ignore[arg-type]


def use_language_model(text: str) -> None:
    model = clstm.LanguageModel(unit="word", seed=0).fit(text)
    assert_type(model, clstm.LanguageModel)
    assert_type(model.generate("Call me", 20, temperature=0.8, top_k=10), str)
    assert_type(model.perplexity(text), float)
    assert_type(model.bits(text), np.ndarray)
    model.generate("Call me")  # type: ignore[call-arg]


def use_translator(sources: list[str], targets: list[str]) -> None:
    translator = clstm.Translator(seed=0).fit(sources, targets)
    assert_type(translator, clstm.Translator)
    translator.translate(sources, beam_size=5)
    translator.translate(sources, beam_size="5")  # type: ignore[arg-type]


def use_files(path: Path) -> None:
    files.save_model(path, "TextClassifier", {"params": {}}, {"weight": np.zeros(3)})
    content = files.load_model(path, kind="TextClassifier")
    assert_type(content, files.ModelFile)
    assert_type(content.arrays, dict[str, np.ndarray])
    assert_type(clstm.read_state_dict(path, key="model"), dict[str, np.ndarray])
    files.write_atomically(path, "text")  # type: ignore[arg-type]


def use_keras(path: Path, x: np.ndarray) -> None:
    network = clstm.keras.load(path)
    assert_type(network, clstm.keras.KerasNetwork)
    assert_type(network(x), np.ndarray | tuple[np.ndarray, ...])
    clstm.keras.save_weights([clstm.Embedding(10, 4), clstm.LSTM(4, 3)], path)
    clstm.keras.load(3.0, weights=3)  # type: ignore[arg-type]


def use_onnx(path: Path, x: np.ndarray) -> None:
    clstm.onnx.save(clstm.LSTM(3, 4), path, state=False)
    model = clstm.onnx.load(path, num_threads=1)
    assert_type(model, clstm.onnx.Model)
    assert_type(model.run(["y"], {"x": x}), list[np.ndarray])
    assert_type(model.get_inputs(), list[clstm.onnx.Value])
    assert_type(model.lstms, dict[str, clstm.LSTM])
    clstm.onnx.save("lstm", path)  # type: ignore[arg-type]


def use_settings() -> None:
    clstm.set_num_threads(2)
    assert_type(clstm.get_num_threads(), int)
    assert_type(clstm.__version__, str)
    clstm.set_num_threads("2")  # type: ignore[arg-type]
