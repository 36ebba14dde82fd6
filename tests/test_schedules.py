"""The schedules against PyTorch's, by their formulas, and resumed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clstm.layers import Linear
from clstm.optim import SGD
from clstm.schedules import CosineLR, ReduceOnPlateau, StepLR, WarmUp


def optimizer(lr=0.1):
    return SGD(Linear(2, 2, seed=0), lr=lr)


def rates(schedule, steps, metrics=None):
    """The rates of the first steps, that of the first included."""
    found = []
    for step in range(steps):
        found.append(schedule.optimizer.lr)
        schedule.step() if metrics is None else schedule.step(metrics[step])
    return found


def torch_rates(make, steps, metrics=None, lr=0.1):
    torch = pytest.importorskip("torch")
    peer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedule = make(torch.optim.lr_scheduler, peer)
    found = []
    for step in range(steps):
        found.append(peer.param_groups[0]["lr"])
        peer.step()
        schedule.step() if metrics is None else schedule.step(metrics[step])
    return found


METRICS = [3.0, 2.0, 2.1, 1.99999, 2.0, 2.0, 2.0, math.nan, 1.5, 1.6, 1.7, 1.8, 1.9, 1.9, 1.4, 2.0, 2, 2, 2, 2, 2, 2]


@pytest.mark.peer
@pytest.mark.parametrize(("step_size", "gamma"), [(1, 0.9), (3, 0.1), (7, 0.5), (100, 0.1)])
def test_step_like_torch(step_size, gamma):
    expected = torch_rates(lambda module, peer: module.StepLR(peer, step_size, gamma), 20)
    np.testing.assert_allclose(rates(StepLR(optimizer(), step_size, gamma), 20), expected, rtol=1e-12)


@pytest.mark.peer
@pytest.mark.parametrize("min_lr", [0.0, 0.01])
@pytest.mark.parametrize("total_steps", [1, 7, 20])
def test_cosine_like_torch(total_steps, min_lr):
    steps = total_steps + 1
    expected = torch_rates(lambda module, peer: module.CosineAnnealingLR(peer, total_steps, min_lr), steps)
    found = rates(CosineLR(optimizer(), total_steps, min_lr), total_steps + 10)
    np.testing.assert_allclose(found[:steps], expected, rtol=1e-12, atol=1e-17)
    assert set(found[steps:]) == {min_lr}  # and stays there


@pytest.mark.peer
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    ("factor", "patience", "min_lr"), [(0.1, 2, 0.0), (0.5, 0, 0.01), (0.5, 3, 0.0), (0.9, 10, 0.0)]
)
def test_plateau_like_torch(mode, factor, patience, min_lr):
    metrics = METRICS if mode == "min" else [10 - metric for metric in METRICS]
    expected = torch_rates(
        lambda module, peer: module.ReduceLROnPlateau(peer, mode, factor, patience, min_lr=min_lr), 22, metrics
    )
    found = rates(ReduceOnPlateau(optimizer(), factor, patience, min_lr, mode), 22, metrics)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    if patience < 10:
        assert len(set(found)) > 2


@pytest.mark.peer
def test_warm_up_like_torch():
    def make(module, peer):
        warm_up = module.LinearLR(peer, start_factor=1 / 5, total_iters=4)
        return module.SequentialLR(peer, [warm_up, module.CosineAnnealingLR(peer, 10)], milestones=[5])

    own = optimizer()
    np.testing.assert_allclose(
        rates(WarmUp(own, 5, after=CosineLR(own, 10)), 15), torch_rates(make, 15), rtol=1e-12, atol=1e-17
    )


def test_after_a_warm_up_alone_the_rate_is_constant():
    assert rates(WarmUp(optimizer(1.0), 4), 8) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert rates(WarmUp(optimizer(1.0), 1), 3) == [1, 1, 1]


@pytest.mark.smoke
def test_warm_up_then_plateau():
    own = optimizer(1.0)
    schedule = WarmUp(own, 2, after=ReduceOnPlateau(own, 0.5, patience=0))
    assert rates(schedule, 6, [5, 5, 3.0, 3.0, 3.0, 2.0]) == [0.5, 1, 1, 1, 0.5, 0.25]


def test_plateau_never_raises_a_rate_below_its_minimum():
    own = optimizer(0.001)
    schedule = ReduceOnPlateau(own, 0.5, patience=0, min_lr=0.01)
    assert rates(schedule, 4, [1.0] * 4) == [0.001] * 4


def schedules(own):
    return [
        StepLR(own, 3, 0.5),
        CosineLR(own, 12, 0.01),
        ReduceOnPlateau(own, 0.5, 1),
        WarmUp(own, 4),
        WarmUp(own, 4, after=StepLR(own, 2, 0.5)),
        WarmUp(own, 4, after=ReduceOnPlateau(own, 0.5, 0)),
    ]


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize("done", [0, 2, 4, 9])
def test_resumed_to_the_same_rates(which, done):
    own = optimizer()
    schedule = schedules(own)[which]
    rates(schedule, done, METRICS)
    state, optimizer_state = schedule.state_dict(), own.state_dict()
    expected = rates(schedule, 10, METRICS[done:])

    other = optimizer(lr=0.7)
    resumed = schedules(other)[which]
    other.load_state_dict(optimizer_state)
    resumed.load_state_dict(state)
    assert rates(resumed, 10, METRICS[done:]) == expected
    assert resumed.state_dict() == schedule.state_dict()


def test_bad_state():
    schedule = StepLR(optimizer(), 3)
    state = schedule.state_dict()
    for bad, error in (
        ({"base_lr": 1.0}, ValueError),
        (state | {"more": 1}, ValueError),
        (state | {"num_steps": "3"}, TypeError),
        ([1], TypeError),
    ):
        with pytest.raises(error):
            schedule.load_state_dict(bad)
        assert schedule.state_dict() == state


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda own: StepLR(own, 0), ValueError, "step_size"),
        (lambda own: StepLR(own, 2, -0.1), ValueError, "gamma"),
        (lambda own: CosineLR(own, 2.5), TypeError, "total_steps"),
        (lambda own: CosineLR(own, 2, -1), ValueError, "min_lr"),
        (lambda own: ReduceOnPlateau(own, 1.0), ValueError, "factor is 1.0, expected below 1"),
        (lambda own: ReduceOnPlateau(own, patience=-1), ValueError, "patience"),
        (lambda own: ReduceOnPlateau(own, mode="least"), ValueError, "mode is 'least', expected one of 'min', 'max'"),
        (lambda own: ReduceOnPlateau(own, threshold=-1), ValueError, "threshold"),
        (lambda own: WarmUp(own, 0), ValueError, "steps"),
        (lambda own: WarmUp(own, 3, after=own), TypeError, "after is SGD, expected a schedule"),
        (lambda own: WarmUp(own, 3, after=StepLR(optimizer(), 2)), ValueError, "another optimiser"),
        (lambda own: StepLR(Linear(2, 2), 3), TypeError, "optimizer is Linear"),
        (lambda own: ReduceOnPlateau(own).step(), ValueError, "metric is None"),
        (lambda own: ReduceOnPlateau(own).step("low"), TypeError, "metric is 'low'"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make(optimizer())
