"""PyTorch's twin of `clstm.LSTMForecaster`: the same network, recipe and forecasts, as one would write them there."""

from __future__ import annotations

import copy
import time

import numpy as np
import torch
from torch import nn
from torch.distributions import StudentT
from torch.nn.functional import softplus

HIDDEN, DROPOUT, SEGMENT, BATCH, LR, WEIGHT_DECAY, DECAY, CLIP = 64, 0.2, 64, 16, 3e-3, 0.1, 0.99, 1.0


class Network(nn.Module):
    """An LSTM, and a linear layer from its output and input to a Student-t distribution of the next value."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, HIDDEN)
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(HIDDEN + inputs, 2)
        self.df = nn.Parameter(torch.tensor(2.0))

    def forward(self, x, state=None):
        y, state = self.lstm(x, state)
        location, scale = self.fc(torch.cat([self.dropout(y), x], dim=-1)).unbind(-1)
        return StudentT(2 + softplus(self.df), location, softplus(scale) + 1e-3), state


def fit(x: np.ndarray, target: np.ndarray, trained: int, n_epochs: int, seed: int, clock) -> tuple[Network, float]:
    """Return the network with the best epoch's averaged weights, and the seconds that the training took.

    Parameters
    ----------
    x : ndarray of shape (time, features)
    target : ndarray of shape (time,)
    trained : int
        Steps to train on; the others validate.
    n_epochs, seed : int
    clock : callable
        Tells seconds.
    """
    start = clock()
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    x, target = torch.tensor(x, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)
    network = Network(x.shape[1])
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    steps = max(1, -(-trained // SEGMENT) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs * steps, LR / 100)
    best, best_loss = None, np.inf
    for _ in range(n_epochs):
        cuts = [0, *range(int(generator.integers(1, SEGMENT + 1)), trained, SEGMENT), trained]
        states = states_along(network, x, cuts[:-1])
        network.train()
        for chosen in np.array_split(generator.permutation(len(cuts) - 1), min(steps, len(cuts) - 1)):
            lengths = torch.tensor([cuts[place + 1] - cuts[place] for place in chosen])
            inside = torch.arange(int(lengths.max()))[:, None] < lengths
            places = (torch.tensor(cuts)[torch.tensor(chosen)] + torch.arange(len(inside))[:, None]).clamp(
                max=trained - 1
            )
            state = tuple(torch.cat(arrays, dim=1) for arrays in zip(*(states[place] for place in chosen), strict=True))
            loss = -network(x[places], state)[0].log_prob(target[places])[inside].mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
        average.eval()
        with torch.inference_mode():
            loss = -average.module(x[:, None])[0].log_prob(target[:, None])[trained:].mean().item()
        if loss < best_loss:
            best, best_loss = copy.deepcopy(average.module), loss
    return best.eval(), clock() - start


def states_along(network: Network, x: torch.Tensor, stops: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the state at each of some rising steps, from one reading."""
    states, place = [], 0
    state = torch.zeros(1, 1, HIDDEN), torch.zeros(1, 1, HIDDEN)
    with torch.inference_mode():
        for stop in stops:
            if stop > place:
                state = network.lstm(x[place:stop, None], state)[1]
                place = stop
            states.append(state)
    return [tuple(array.clone() for array in state) for state in states]


def backtest(network: Network, x: np.ndarray, cuts: list[int], h: int) -> np.ndarray:
    """Return medians (cuts, h) from each of some rising steps of x on; what is known of them stands in x."""
    x = torch.tensor(x, dtype=torch.float32)
    states = states_along(network, x, cuts)
    state = tuple(torch.cat(arrays, dim=1) for arrays in zip(*states, strict=True))
    places, medians = torch.tensor(cuts), []
    with torch.inference_mode():
        now = x[places]
        for step in range(h):
            distribution, state = network(now[None], state)
            medians.append(distribution.loc[0])
            if step + 1 < h:
                now = torch.cat([medians[-1][:, None], x[places + step + 1, 1:]], dim=1)
    return torch.stack(medians, dim=1).numpy()


def errors(
    y: np.ndarray,
    known: np.ndarray,
    season_length: int,
    trained: int,
    cutoffs: np.ndarray,
    h: int,
    n_epochs: int,
    seed: int,
    clock=time.perf_counter,
) -> tuple[float, float]:
    """Return the mean absolute error of forecasts from cut-offs, and the seconds that the training took.

    The differences from a season ago are what is learnt. Of steps no further ahead than a season, all of these values
    are known, so that an error in the difference is that in the value.

    Parameters
    ----------
    y : ndarray of shape (time,)
    known : ndarray of shape (time, features)
        What is known of each step ahead.
    season_length : int
    trained : int
        Values to train on; the others before the first cut-off validate.
    cutoffs : ndarray of int
        Values that each forecast knows.
    h : int
        Steps ahead, at most `season_length`.
    n_epochs, seed : int
    clock : callable
        Tells seconds.
    """
    z = y[season_length:] - y[:-season_length]
    center, scale = z[: trained - season_length].mean(), z[: trained - season_length].std()
    z = (z - center) / scale
    x = np.concatenate([z[:-1, None], known[season_length + 1 :]], axis=1)
    first = cutoffs - season_length - 1
    network, seconds = fit(x[: first[0]], z[1 : first[0] + 1], trained - season_length - 1, n_epochs, seed, clock)
    medians = backtest(network, x, first.tolist(), h)
    actual = np.stack([z[1:][place : place + h] for place in first])
    return float(np.abs(medians - actual).mean() * scale), seconds
