"""Forecasting series: the model and its network, distributions, calendars and results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.forecasting.calendars import Frequency as Frequency
    from clstm.forecasting.distributions import Normal as Normal
    from clstm.forecasting.distributions import Quantiles as Quantiles
    from clstm.forecasting.distributions import StudentT as StudentT
    from clstm.forecasting.forecaster import LSTMForecaster as LSTMForecaster
    from clstm.forecasting.network import ForecastContext as ForecastContext
    from clstm.forecasting.network import ForecastNetwork as ForecastNetwork
    from clstm.forecasting.results import Backtest as Backtest
    from clstm.forecasting.results import Forecast as Forecast

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "calendars": ("Frequency",),
        "distributions": ("Normal", "Quantiles", "StudentT"),
        "forecaster": ("LSTMForecaster",),
        "network": ("ForecastContext", "ForecastNetwork"),
        "results": ("Backtest", "Forecast"),
    },
)
