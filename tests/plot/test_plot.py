"""Pictures: what is on their axes, and what is refused."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import clstm
from clstm import LSTM, plot
from clstm.forecasting.results import Forecast
from clstm.train.history import History

matplotlib = pytest.importorskip("matplotlib")

pytestmark = pytest.mark.peer
matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    matplotlib.pyplot.close("all")


POINT = np.arange(3.0)
FORECAST = Forecast(POINT, {80: POINT - 1, 95: POINT - 2}, {80: POINT + 1, 95: POINT + 2})


@pytest.mark.smoke
def test_a_forecast_is_drawn_with_actual_values():
    import matplotlib.pyplot as plt

    dates = np.datetime64("2024-01-01") + np.arange(8)
    ax = plot.forecast(np.ones(5), FORECAST, actual=[0.0, 1.0, 2.5], dates=dates)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "history",
        "95%",
        "80%",
        "actual",
        "forecast",
    ]
    history, came, forecast = ax.get_lines()
    np.testing.assert_array_equal(forecast.get_ydata(), POINT)
    np.testing.assert_array_equal(forecast.get_xdata(), dates[5:])
    np.testing.assert_array_equal(came.get_ydata(), [0.0, 1.0, 2.5])
    assert len(history.get_ydata()) == 5
    assert len(ax.collections) == 2
    own = plt.subplots()[1]
    assert plot.forecast([], POINT, ax=own, label="naive") is own
    assert own.get_lines()[-1].get_label() == "naive"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"forecast": np.ones((3, 2))}, r"forecast has shape \(3, 2\), expected \(time,\)"),
        ({"actual": [1.0]}, r"actual has shape \(1,\), expected \(3,\)"),
        ({"dates": np.arange(9)}, r"dates has shape \(9,\), expected \(8,\)"),
    ],
)
def test_wrong_shapes(arguments, message):
    with pytest.raises(ValueError, match=message):
        plot.forecast(**{"history": np.ones(5), "forecast": FORECAST} | arguments)


# Gates ---------------------------------------------------------------------------------------------------------------

TITLES = ["input gate i", "forget gate f", "candidate g", "output gate o", "cell state c", "output h"]


def traced(T=5, B=None, hidden_size=16, **options):
    """Return the trace of a layer with weights large enough to open and close its gates."""
    lstm = LSTM(3, hidden_size, seed=0, **options)
    with lstm.updating() as weights:
        for weight in weights.values():
            weight *= 4
    shape = (T, 3) if B is None else (T, B, 3)
    return lstm.trace(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def picture(ax):
    (image,) = ax.get_images()
    return image


def labels(ax):
    ax.figure.canvas.draw()
    return [text.get_text() for text in ax.get_xticklabels()]


def test_gates_have_a_panel_each_with_fixed_colours():
    trace = traced()
    axes = plot.gates(trace, ["the", "film", "is", "not", "dull"])
    assert [ax.get_title(loc="left") for ax in axes] == TITLES
    largest = abs(trace[0].c).max()
    limits = [(0, 1), (0, 1), (-1, 1), (0, 1), (-largest, largest), (-1, 1)]
    for ax, name, (low, high) in zip(axes, "ifgoch", limits, strict=True):
        image = picture(ax)
        assert image.get_clim() == pytest.approx((low, high))
        assert image.get_cmap().name == ("YlGnBu" if low == 0 else "RdBu_r")
        assert image.get_array().shape == (16, 5)
        assert image.colorbar is not None
        assert sorted(image.get_array()[:, 2]) == sorted(getattr(trace[0], name)[2])
    assert labels(axes[-1]) == ["the", "film", "is", "not", "dull"]
    assert not any(text.get_visible() for text in axes[0].get_xticklabels())
    assert len({ax.figure for ax in axes}) == 1
    assert axes[0].figure.get_suptitle() == ""


def test_units_in_order_and_sorted():
    trace = traced()
    values = trace[0].f.T
    np.testing.assert_array_equal(picture(plot.gates(trace, gates="f", sort=None)[0]).get_array(), values)
    (ax,) = plot.gates(trace, gates="f", units=[7, 0, 3], sort=None)
    np.testing.assert_array_equal(picture(ax).get_array(), values[[7, 0, 3]])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["7", "0", "3"]
    order = np.argsort(-trace[0].i.mean(axis=0))
    for ax, name in zip(plot.gates(trace, sort="i"), "ifgoch", strict=True):
        np.testing.assert_array_equal(picture(ax).get_array(), getattr(trace[0], name).T[order])
    (ax,) = plot.gates(trace, gates="c", units=[4])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["unit 4"]
    np.testing.assert_array_equal(picture(ax).get_array(), trace[0].c.T[[4]])


def test_similar_units_are_next_to_each_other():
    trace = traced(T=30, hidden_size=64)
    shown = picture(plot.gates(trace, gates="c")[0]).get_array().data
    assert sorted(map(tuple, shown)) == sorted(map(tuple, trace[0].c.T))

    def likeness(rows):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows[1:] * rows[:-1]).sum(axis=1).mean()

    assert likeness(trace[0].c.T) < 0.2
    assert likeness(shown) > 0.5


def test_layers_directions_and_rows():
    lstm = LSTM(3, 4, 2, bidirectional=True, batch_first=True, seed=0)
    x = np.random.default_rng(0).standard_normal((3, 6, 3)).astype(np.float32)
    trace = lstm.trace(x, lengths=[6, 0, 4])
    for layer, direction, row, length in ((0, 0, 0, 6), (1, 1, 2, 4), (-1, 0, -1, 4)):
        axes = plot.gates(trace, layer=layer, direction=direction, row=row, gates="oh", sort=None)
        for ax, name in zip(axes, "oh", strict=True):
            expected = getattr(trace[layer, direction], name)[row, :length].T
            np.testing.assert_array_equal(picture(ax).get_array(), expected)
        title = f"layer {layer % 2}, reading {'backwards' if direction else 'forwards'}"
        assert axes[0].figure.get_suptitle() == title
        assert axes[-1].get_xlabel() == "step"
    with pytest.raises(ValueError, match="row 1 has no steps to draw"):
        plot.gates(trace, row=1)


def test_words_of_a_model_and_any_sign():
    texts = ["a $5 film costs $9", "dull"] * 4
    model = clstm.TextClassifier(hidden_size=4, n_epochs=1, seed=0, verbose=0).fit(texts, ["good", "bad"] * 4)
    axes = plot.gates(model.trace("Dull, not \u2603!"))
    assert labels(axes[-1]) == ["dull", "not", "\u2603", "!"]
    trace = traced(T=3)
    ax = plot.gates(trace, ["$a$", " ", "x\n"], gates="i")[0]
    assert labels(ax) == ["$a$", "\u2423", "x\u21b5"]
    assert not any(text.get_parse_math() for text in ax.get_xticklabels())


def test_numbers_and_dates_are_tokens_too():
    dates = np.datetime64("2024-02-28") + np.arange(5)
    assert labels(plot.gates(traced(), dates, gates="i")[0])[1] == "2024-02-29"
    assert labels(plot.gates(traced(), [3, 1, 4, 1, 5], gates="i")[0]) == list("31415")


def test_values_that_are_not_finite():
    trace = traced()
    c = trace[0].c.copy()
    c[3:, 2], c[2, 1] = np.nan, np.inf
    trace = replace(trace, layers=((replace(trace[0], c=c),),))
    (ax,) = plot.gates(trace, gates="c")
    largest = abs(c[np.isfinite(c)]).max()
    assert picture(ax).get_clim() == pytest.approx((-largest, largest))


@pytest.mark.parametrize("steps", [1, 2, 12, 40, 90, 250])
def test_labels_of_long_sentences_do_not_overlap(steps):
    words = [("unforgettable", "a", "film", "and")[place % 4] for place in range(steps)]
    axes = plot.gates(traced(T=steps), words, gates="fc")
    figure = axes[0].figure
    figure.canvas.draw()
    texts = [text for text in axes[-1].get_xticklabels() if text.get_text()]
    assert len(texts) >= min(steps, 60)
    step = np.diff(axes[-1].transData.transform([(0, 0), (1, 0)])[:, 0])[0] * 72 / figure.dpi
    for left, right in pairwise(texts):
        if left.get_rotation() == 45:  # boxes of slanted words overlap, the words don't: they are so far apart
            assert step * 0.5**0.5 > left.get_size()
        else:
            assert left.get_window_extent().x1 <= right.get_window_extent().x0 + 0.5
    whole = figure.get_tightbbox()
    assert whole.x0 >= -0.05
    assert whole.x1 <= figure.get_figwidth() + 0.05
    assert whole.y0 >= -0.05


def test_colours_go_further_where_values_do():
    trace = traced()
    part = replace(trace[0], i=-2 * trace[0].i, h=3 * trace[0].h[:, :5], o=2 * trace[0].o)
    trace = replace(trace, layers=((part,),))
    i, o, h = plot.gates(trace, gates="ioh")
    largest = abs(part.i).max()
    assert picture(i).get_clim() == pytest.approx((-largest, largest))
    assert picture(o).get_clim() == pytest.approx((0, part.o.max()))
    assert picture(h).get_array().shape == (5, 5)  # the features of a projection, in their order
    np.testing.assert_array_equal(picture(h).get_array(), part.h.T)
    assert h.get_ylabel() == "feature"
    with pytest.raises(ValueError, match="sort is 'h', but h has 5 features of 16 units"):
        plot.gates(trace, sort="h")


def test_gates_on_given_axes():
    figure, own = matplotlib.pyplot.subplots(1, 2)
    axes = plot.gates(traced(), list("abcde"), gates="fc", axes=own)
    assert list(axes) == list(own)
    assert labels(own[0]) == labels(own[1]) == list("abcde")
    (ax,) = plot.gates(traced(), gates="f", axes=figure.add_subplot())
    assert ax.figure is figure


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"trace": np.ones(3)}, TypeError, "trace is ndarray, expected a Trace"),
        ({"tokens": ["a"]}, ValueError, "tokens has 1 entries, expected one for each of 5 steps"),
        ({"layer": 1}, ValueError, "layer is 1, expected at most 0"),
        ({"direction": 1}, ValueError, "direction is 1, expected at most 0"),
        ({"row": 1}, ValueError, "row is 1, but the trace has no batch axis"),
        ({"gates": "ix"}, ValueError, "gates is 'ix', expected some of the letters ifgoch, each once"),
        ({"gates": "ii"}, ValueError, "gates is 'ii'"),
        ({"gates": ""}, ValueError, "gates is ''"),
        ({"units": [16]}, ValueError, r"units\[0\] is 16, expected at most 15"),
        ({"units": []}, ValueError, r"units is \[\], expected one or more"),
        ({"units": 3}, ValueError, "units is 3, expected one or more"),
        ({"sort": "size"}, ValueError, "sort is 'size', expected one of 'similar'"),
    ],
)
def test_gates_refuse(arguments, error, message):
    with pytest.raises(error, match=message):
        plot.gates(**{"trace": traced()} | arguments)
    assert not matplotlib.pyplot.get_fignums()


def test_gates_refuse_a_wrong_number_of_axes():
    _, own = matplotlib.pyplot.subplots(1, 2)
    with pytest.raises(ValueError, match="axes holds 2, expected 6, one a panel"):
        plot.gates(traced(), axes=own)


# Training curves -----------------------------------------------------------------------------------------------------

HISTORY = History([3.0, 2.0, 1.5], [3.1, 2.2, 2.4], [0.5, 0.7, 0.6], [0.1, 0.05, 0.01], [1.0] * 3, best_epoch=2)


def test_everything_in_a_history_is_drawn():
    axes = plot.history(HISTORY)
    assert [ax.get_ylabel() for ax in axes] == ["loss", "validation score", "learning rate"]
    drawn = [[(line.get_label(), list(line.get_ydata())) for line in ax.get_lines()[:-1]] for ax in axes]
    assert drawn == [
        [("training", HISTORY.train_loss), ("validation", HISTORY.validation_loss)],
        [("validation", HISTORY.validation_score)],
        [("rate", HISTORY.lr)],
    ]
    assert list(axes[0].get_lines()[0].get_xdata()) == [1, 2, 3]
    for ax in axes:
        assert set(ax.get_lines()[-1].get_xdata()) == {2}  # the epoch whose weights were kept
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["training", "validation", "kept"]
    assert axes[-1].get_xlabel() == "epoch"


def test_a_fitted_model_has_its_curves():
    model = clstm.TextClassifier(hidden_size=4, n_epochs=3, seed=0, verbose=0)
    with pytest.raises(ValueError, match="this TextClassifier isn't fitted yet"):
        plot.history(model)
    model.fit(["a fine film", "dull"] * 4, ["good", "bad"] * 4)
    (ax,) = plot.history(model)  # no validation, and one learning rate
    (line,) = ax.get_lines()
    assert list(line.get_ydata()) == model.history_.train_loss
    own = matplotlib.pyplot.figure().add_subplot()
    assert list(plot.history(HISTORY, own)) == [own]
    assert len(own.get_lines()) == 3
    assert own.get_xlabel() == "epoch"


def test_one_epoch_is_a_point():
    (ax,) = plot.history(History([1.0], [], [], [0.1], [1.0]))
    (line,) = ax.get_lines()
    assert line.get_marker() == "o"
    low, high = ax.get_xlim()
    assert [place for place in ax.get_xticks() if low <= place <= high] == [1]


def test_history_refuses_other_types():
    with pytest.raises(TypeError, match="model is list, expected a fitted model or a History"):
        plot.history([1.0])
    with pytest.raises(ValueError, match="the history has no epochs"):
        plot.history(History())
    _, own = matplotlib.pyplot.subplots(1, 4)
    with pytest.raises(ValueError, match="axes holds 4, expected 1 to 3: loss, validation score, learning rate"):
        plot.history(HISTORY, own)
