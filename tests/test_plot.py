"""Pictures of forecasts."""

import numpy as np
import pytest

from clstm import plot
from clstm.forecasts import Forecast

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

POINT = np.arange(3.0)
FORECAST = Forecast(POINT, {80: POINT - 1, 95: POINT - 2}, {80: POINT + 1, 95: POINT + 2})


def test_a_forecast_is_drawn_beside_what_came():
    import matplotlib.pyplot as plt

    dates = np.datetime64("2024-01-01") + np.arange(8)
    ax = plot.forecast(np.ones(5), FORECAST, actual=[0.0, 1.0, 2.5], dates=dates)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "history",
        "95%",
        "80%",
        "what came",
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
    plt.close("all")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"forecast": np.ones((3, 2))}, r"forecast has shape \(3, 2\), expected \(time,\)"),
        ({"actual": [1.0]}, r"actual has shape \(1,\), expected \(3,\)"),
        ({"dates": np.arange(9)}, r"dates has shape \(9,\), expected \(8,\)"),
    ],
)
def test_wrong_shapes_get_one_line(arguments, message):
    with pytest.raises(ValueError, match=message):
        plot.forecast(**{"history": np.ones(5), "forecast": FORECAST} | arguments)
