import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from clstm.layers import Linear
from clstm.losses import cross_entropy, mse
from clstm.models import LSTMClassifierNetwork
from clstm.optim import SGD, Adam, ExponentialMovingAverage, clip_grad_norm
from clstm.schedules import CosineLR, ReduceOnPlateau, StepLR
from clstm.train import BucketedBatches, History, fit
from clstm.train.progress import Progress

BATCHES = [np.arange(8), np.arange(8, 16), np.arange(16, 20)]


class Regression:
    """Twenty points of a plane, and a Linear layer to find it."""

    def __init__(self, lr=0.1, optimizer=SGD):
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((20, 3))
        self.y = self.x @ np.array([[1.0], [-2.0], [0.5]])
        self.network = Linear(3, 1, dtype=np.float64, seed=0)
        self.optimizer = optimizer(self.network, lr=lr)
        self.weights_seen = []

    def loss_step(self, rows):
        out, context = self.network.forward_train(self.x[rows])
        loss, dout = mse(out, self.y[rows])
        return loss, self.network.backward(context, dout).weights

    def validate(self):
        self.weights_seen.append(self.network.state_dict())
        loss, _ = mse(self.network(self.x), self.y)
        return loss, -loss

    def fit(self, n_epochs=5, **options):
        return fit(self.optimizer, self.loss_step, BATCHES, n_epochs=n_epochs, **({"verbose": 0} | options))


def assert_same_weights(got, expected):
    assert list(got) == list(expected)
    for name, weight in expected.items():
        np.testing.assert_array_equal(got[name], weight, err_msg=name)


# ---------------------------------------------------------------------------------------------------- the loop


@pytest.mark.smoke
def test_it_does_what_the_steps_by_hand_do():
    problem, by_hand = Regression(), Regression()
    history = problem.fit(3, clip_norm=1.0)
    losses = []
    for _ in range(3):
        epoch = []
        for rows in BATCHES:
            loss, grads = by_hand.loss_step(rows)
            clip_grad_norm(grads, 1.0)
            by_hand.optimizer.step(grads)
            epoch.append(loss * len(rows))
        losses.append(sum(epoch) / 20)
    assert_same_weights(problem.network.state_dict(), by_hand.network.state_dict())
    assert history.train_loss == losses
    assert history.n_epochs == 3
    assert history.lr == [0.1] * 3
    assert len(history.seconds) == 3
    assert history.validation_loss == history.validation_score == []
    assert (history.best_epoch, history.interrupted, history.stopped_early) == (None, False, False)


def test_history_can_be_written_as_json():
    history = Regression().fit(2, validate=lambda: (np.float32(0.5), np.float64(0.25)))
    fields = json.loads(json.dumps(history.as_dict()))
    assert History(**fields) == history
    assert fields["validation_loss"] == [0.5, 0.5]
    assert fields["best_epoch"] == 1


def test_clip_value():
    problem, by_hand = Regression(), Regression()
    problem.fit(1, clip_value=0.1)
    for rows in BATCHES:
        grads = by_hand.loss_step(rows)[1]
        assert max(np.abs(grad).max() for grad in grads.values()) > 0.1
        by_hand.optimizer.step({name: np.clip(grad, -0.1, 0.1) for name, grad in grads.items()})
    assert_same_weights(problem.network.state_dict(), by_hand.network.state_dict())


def test_the_average_is_validated_and_kept():
    problem, by_hand = Regression(), Regression()
    history = problem.fit(3, validate=problem.validate, ema_decay=0.9)
    average = ExponentialMovingAverage(by_hand.network, 0.9)
    expected = []
    for _ in range(3):
        for rows in BATCHES:
            by_hand.optimizer.step(by_hand.loss_step(rows)[1])
            average.update()
        expected.append(average.state_dict())
    for seen, wanted in zip(problem.weights_seen, expected, strict=True):
        assert_same_weights(seen, wanted)
    assert history.best_epoch == 3
    assert_same_weights(problem.network.state_dict(), expected[2])

    without_validation = Regression()
    without_validation.fit(3, ema_decay=0.9)
    assert_same_weights(without_validation.network.state_dict(), expected[2])


def scripted(problem, results):
    """Return a `validate` that gives the results one by one and notes the weights."""
    results = iter(results)

    def validate():
        problem.validate()
        return next(results)

    return validate


@pytest.mark.parametrize(
    ("monitor", "results", "best"),
    [
        ("loss", [(3.0, 0.1), (1.0, 0.2), (2.0, 0.9)], 2),
        ("loss", [(3.0, None), (1.0, None), (1.0, None)], 2),
        ("score", [(3.0, 0.1), (1.0, 0.2), (2.0, 0.9)], 3),
        ("score", [(3.0, 0.5), (1.0, 0.5), (2.0, 0.5)], 2),  # of equal scores the lower loss
        ("score", [(1.0, 0.5), (1.0, 0.5), (1.0, 0.5)], 1),
    ],
)
def test_the_best_weights_are_kept(monitor, results, best):
    problem = Regression()
    history = problem.fit(3, validate=scripted(problem, results), monitor=monitor)
    assert history.best_epoch == best
    assert_same_weights(problem.network.state_dict(), problem.weights_seen[best - 1])
    assert history.validation_loss == [loss for loss, _ in results]
    assert history.validation_score == [score for _, score in results if score is not None]


def test_patience():
    problem = Regression()
    losses = [5.0, 3.0, 4.0, 2.0, 2.5, 2.0, 1.0]
    history = problem.fit(7, validate=scripted(problem, [(loss, None) for loss in losses]), patience=2)
    assert history.stopped_early
    assert history.validation_loss == losses[:6]
    assert history.best_epoch == 4
    assert_same_weights(problem.network.state_dict(), problem.weights_seen[3])


def test_tol_is_the_improvement_that_resets_patience():
    problem = Regression()
    losses = [5.0, 3.0, 2.9, 2.8, 1.0]
    history = problem.fit(5, validate=scripted(problem, [(loss, None) for loss in losses]), patience=2, tol=0.5)
    assert history.validation_loss == losses[:4]
    assert history.best_epoch == 4  # its weights are kept although it improved by less than tol
    with pytest.raises(ValueError, match="tol is -1"):
        problem.fit(1, tol=-1)


def test_a_callback_sees_each_epoch_and_can_stop():
    seen = []

    def callback(history):
        seen.append(history.n_epochs)
        return history.n_epochs == 2

    history = Regression().fit(5, callback=callback)
    assert seen == [1, 2]
    assert history.stopped_early
    assert history.n_epochs == 2


def test_schedules_by_epoch_and_by_batch():
    problem = Regression()
    history = problem.fit(3, schedule=StepLR(problem.optimizer, 1, gamma=0.5))
    assert history.lr == [0.1, 0.05, 0.025]
    problem = Regression()
    history = problem.fit(2, schedule=CosineLR(problem.optimizer, 6), schedule_every="batch")
    assert history.lr == pytest.approx([0.1 * (1 + np.cos(np.pi * steps / 6)) / 2 for steps in (2, 5)])
    assert problem.optimizer.lr == pytest.approx(0.0)


def test_a_plateau_is_seen_in_the_validation_loss():
    problem = Regression()
    validate = scripted(problem, [(loss, None) for loss in (3.0, 2.0, 2.0, 2.0, 1.0)])
    history = problem.fit(5, validate=validate, schedule=ReduceOnPlateau(problem.optimizer, 0.5, patience=1))
    assert history.lr == [0.1, 0.1, 0.1, 0.1, 0.05]


@pytest.mark.smoke
def test_the_same_seed_gives_the_same_bits():
    weights = []
    for _ in range(2):
        network = LSTMClassifierNetwork(4, 8, 30, 2, 1, embedding_dropout=0.3, pooled_dropout=0.3, seed=5)
        rng = np.random.default_rng(0)
        ids, lengths = rng.integers(0, 30, (40, 7)), rng.integers(1, 8, 40)

        def loss_step(rows, network=network, ids=ids, lengths=lengths):
            out, _, context = network.forward_train(ids[rows], lengths=lengths[rows])
            loss, dout = cross_entropy(out, ids[rows, 0] % 2)
            return loss, network.backward(context, dout).weights

        batches = BucketedBatches(lengths, 8, seed=6)
        history = fit(Adam(network), loss_step, batches, n_epochs=3, ema_decay=0.9, clip_norm=1.0, verbose=0)
        weights.append((network.state_dict(), history.train_loss))
    assert_same_weights(weights[0][0], weights[1][0])
    assert weights[0][1] == weights[1][1]


# ------------------------------------------------------------------------------------------- what can go wrong


def test_a_loss_that_is_not_finite_names_the_epoch_and_keeps_the_best_weights():
    problem = Regression()
    steps = iter(range(100))

    def loss_step(rows):
        loss, grads = problem.loss_step(rows)
        return (np.nan if next(steps) == 7 else loss), grads

    with pytest.raises(FloatingPointError, match=r"training loss is nan in epoch 3.*the weights of epoch 2 are kept"):
        fit(problem.optimizer, loss_step, BATCHES, n_epochs=5, validate=problem.validate, verbose=0)
    assert_same_weights(problem.network.state_dict(), problem.weights_seen[1])


def test_divergence_is_an_error():
    problem = Regression(lr=50.0)
    with (
        np.errstate(over="ignore"),
        pytest.raises(FloatingPointError, match=r"training loss is .* in epoch .*diverged"),
    ):
        problem.fit(200)
    problem = Regression()
    problem.x[0] = 1e200
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(FloatingPointError, match="in epoch 1"):
        problem.fit(1, clip_norm=1.0)
    problem = Regression()
    with pytest.raises(FloatingPointError, match=r"validation loss is inf in epoch 1: .*no epoch's weights"):
        problem.fit(1, validate=lambda: (np.inf, None))


def test_gradients_that_are_not_finite_never_reach_the_weights():
    problem = Regression()
    before = problem.network.state_dict()

    def loss_step(rows):
        return 1.0, {name: np.full_like(weight, np.nan) for name, weight in before.items()}

    with pytest.raises(FloatingPointError, match="norm of the gradients is nan in epoch 1"):
        fit(problem.optimizer, loss_step, BATCHES, n_epochs=1, clip_norm=1.0, verbose=0)
    assert_same_weights(problem.network.state_dict(), before)


def test_any_exception_leaves_the_best_weights():
    problem = Regression()

    def callback(history):
        if history.n_epochs == 3:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        problem.fit(5, validate=scripted(problem, [(1.0, None), (2.0, None), (3.0, None)]), callback=callback)
    assert_same_weights(problem.network.state_dict(), problem.weights_seen[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_epochs": 0}, ValueError, "n_epochs is 0"),
        ({"monitor": "accuracy"}, ValueError, "monitor is 'accuracy', expected one of 'loss', 'score'"),
        ({"schedule_every": "step"}, ValueError, "schedule_every is 'step'"),
        ({"patience": 0, "validate": lambda: (1.0, None)}, ValueError, "patience is 0"),
        ({"patience": 1}, ValueError, "patience is given, but validate is not"),
        ({"verbose": -1}, ValueError, "verbose is -1"),
        ({"ema_decay": 1.0}, ValueError, "decay is 1.0, expected below 1"),
        ({"clip_norm": 0}, ValueError, "max_norm is 0"),
        ({"clip_value": -1}, ValueError, "value is -1"),
        ({"validate": lambda: 1.0}, TypeError, r"validate returned 1.0, expected \(loss, score\)"),
        ({"validate": lambda: (1.0, None), "monitor": "score"}, ValueError, "validate returned no score"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        Regression().fit(**options)


def test_bad_optimizer_schedule_and_batches():
    problem = Regression()
    with pytest.raises(TypeError, match="optimizer is Linear, expected an optimiser"):
        fit(problem.network, problem.loss_step, BATCHES, n_epochs=1)
    with pytest.raises(ValueError, match="schedule is of another optimiser"):
        problem.fit(schedule=StepLR(Regression().optimizer, 1))
    with pytest.raises(ValueError, match="batches holds no rows in epoch 1"):
        fit(problem.optimizer, problem.loss_step, [], n_epochs=1, verbose=0)
    with pytest.raises(ValueError, match="batches holds no rows in epoch 2"):
        fit(problem.optimizer, problem.loss_step, iter(BATCHES), n_epochs=2, verbose=0)


# ------------------------------------------------------------------------------------------------------- Ctrl-C


def interrupting(problem, at, times=1):
    """Return a loss step that sends this process SIGINT in its call number `at`."""
    steps = iter(range(1, 1000))

    def loss_step(rows):
        if next(steps) == at:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return problem.loss_step(rows)

    return loss_step


@pytest.fixture
def default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("default_handler")
def test_interrupt_keeps_the_best_epoch(capsys):
    problem = Regression()
    loss_step = interrupting(problem, at=8)
    validate = scripted(problem, [(1.0, None), (2.0, None)])
    history = fit(problem.optimizer, loss_step, BATCHES, n_epochs=50, validate=validate)
    assert history.interrupted
    assert not history.stopped_early
    assert history.n_epochs == 2
    assert history.best_epoch == 1
    assert problem.optimizer.num_steps == 8  # the batch was ended
    assert_same_weights(problem.network.state_dict(), problem.weights_seen[0])
    assert "interrupted: the weights of epoch 1 are kept" in capsys.readouterr().err


@pytest.mark.usefixtures("default_handler")
def test_interrupt_in_the_first_epoch_keeps_the_average_so_far(capsys):
    problem, by_hand = Regression(), Regression()
    history = fit(
        problem.optimizer, interrupting(problem, at=2), BATCHES, n_epochs=50, validate=problem.validate, ema_decay=0.9
    )
    average = ExponentialMovingAverage(by_hand.network, 0.9)
    for rows in BATCHES[:2]:
        by_hand.optimizer.step(by_hand.loss_step(rows)[1])
        average.update()
    assert history == History(interrupted=True)
    assert_same_weights(problem.network.state_dict(), average.state_dict())
    assert "interrupted: what was learnt so far is kept" in capsys.readouterr().err


@pytest.mark.usefixtures("default_handler")
def test_interrupt_while_validating_counts_the_epoch():
    problem = Regression()

    def validate():
        signal.raise_signal(signal.SIGINT)
        return problem.validate()

    history = problem.fit(5, validate=validate)
    assert history.interrupted
    assert history.n_epochs == history.best_epoch == 1


@pytest.mark.usefixtures("default_handler")
def test_a_second_interrupt_ends_at_once_and_keeps_the_best_weights():
    problem = Regression()
    loss_step = interrupting(problem, at=7, times=2)
    with pytest.raises(KeyboardInterrupt):
        fit(problem.optimizer, loss_step, BATCHES, n_epochs=50, validate=problem.validate, verbose=0)
    assert problem.optimizer.num_steps == 6
    assert_same_weights(problem.network.state_dict(), problem.weights_seen[1])


def test_another_handler_is_not_replaced():
    noted = []
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        problem = Regression()
        history = fit(problem.optimizer, interrupting(problem, at=2), BATCHES, n_epochs=2, verbose=0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert noted == [signal.SIGINT]
    assert not history.interrupted
    assert history.n_epochs == 2


def test_fit_runs_in_other_threads():
    results = []
    thread = threading.Thread(target=lambda: results.append(Regression().fit(2)))
    thread.start()
    thread.join()
    assert results[0].train_loss == Regression().fit(2).train_loss


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a single process there")
def test_ctrl_c_from_outside():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_loop import Regression\n"
        "def ready(history):\n"
        "    if history.n_epochs == 2: print('ready', flush=True)\n"
        "history = Regression(lr=1e-6).fit(10**9, verbose=1, ema_decay=0.99, callback=ready)\n"
        "print(history.interrupted)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, os.path.dirname(__file__)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert output == "True\n"
    assert errors == "interrupted: what was learnt so far is kept\n"


# ----------------------------------------------------------------------------------------------- what is shown


def test_a_line_for_each_epoch(capsys):
    problem = Regression()
    history = problem.fit(2, validate=problem.validate, score_name="accuracy", verbose=1)
    output = capsys.readouterr()
    assert output.out == ""
    lines = output.err.splitlines()
    assert len(lines) == 2
    assert lines[1] == (
        f"epoch 2/2: loss {history.train_loss[1]:.4f}, validation loss {history.validation_loss[1]:.4f}, "
        f"validation accuracy {history.validation_score[1]:.4f}, {history.seconds[1]:.1f} s"
    )


def test_many_epochs_have_few_lines(capsys):
    Regression().fit(120, verbose=1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"epoch {epoch}/120" for epoch in range(3, 121, 3)]


def test_verbose_0_writes_nothing(capsys):
    Regression().fit(2, verbose=0)
    assert capsys.readouterr() == ("", "")


class Terminal:
    """A standard error that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


@pytest.mark.peer
def test_a_bar_on_a_terminal(monkeypatch):
    pytest.importorskip("tqdm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(Progress(1).batches([1, 2, 3], "epoch 1/1")) == [1, 2, 3]
    assert "epoch 1/1" in terminal.text
    assert "3" in terminal.text
    shown = terminal.text
    assert list(Progress(0).batches([1, 2, 3], "epoch 1/1")) == [1, 2, 3]
    assert terminal.text == shown


def test_lines_without_tqdm(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    Regression().fit(2, verbose=1)
    assert [line.split(":")[0] for line in terminal.text.splitlines()] == ["epoch 1/2", "epoch 2/2"]


def test_a_closed_standard_error_does_not_end_the_training(monkeypatch):
    class Closed(Terminal):
        def isatty(self):
            return False

        def write(self, text):
            raise BrokenPipeError

    for stderr in (Closed(), None):
        monkeypatch.setattr(sys, "stderr", stderr)
        assert Regression().fit(2, verbose=1).n_epochs == 2
