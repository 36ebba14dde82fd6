"""
A pen that writes digits
========================

A network draws a requested digit: it moves a pen, from point to point, and no two of its sevens are the same. It was
shown how 44 people write, and gives for each next point not one place but a mixture of Gaussians, from which the point
is drawn (Graves 2013, `arXiv:1308.0850 <https://arxiv.org/abs/1308.0850>`_). All digits are written at once, through
one stream.
"""

import matplotlib.pyplot as plt
import numpy as np
import runs
import step_network
from datasets import load_pen_digits

import clstm
from clstm.models import SequenceNetwork
from clstm.train.batches import BucketedBatches

COMPONENTS = 20
RECIPE = {"n_epochs": 30, "lr": 5e-3}
UNIT = 25  # of the tablet's grid, that numbers of the network's input be about 1

# %%
# The digits
# ----------
# Each is eight points on a grid of 100 by 100; a fifth of them is held out.

points, digits = load_pen_digits()
order = np.random.default_rng(0).permutation(len(points))
test, rest = order[: len(points) // 5], order[len(points) // 5 :]

# %%
# What the network sees at each point is the pen's last move, the place where the pen is, and the requested digit; what
# it tells is the next move. The pen begins in the middle.


def moves(points, digits):
    """Return the network's input (digits, 8, 14) and the moves that it should make, (digits, 8, 2)."""
    middle = np.zeros((len(points), 1, 2), np.float32)
    places = np.concatenate([middle, (points - 50) / UNIT], axis=1)
    steps = np.diff(places, axis=1)
    last = np.concatenate([middle, steps[:, :-1]], axis=1)
    asked = np.repeat(np.eye(10, dtype=np.float32)[digits][:, np.newaxis], points.shape[1], axis=1)
    return np.concatenate([last, places[:, :-1], asked], axis=2), steps


# %%
# The tablet rounded all places to whole numbers, on which a density could rise without end. So each place is spread
# evenly over its square of the grid, again each time it is shown.


def spread(points, generator):
    """Return the points, moved by less than one half."""
    return points + generator.uniform(-0.5, 0.5, points.shape).astype(np.float32)


test_input, test_moves = moves(spread(points[test], np.random.default_rng(1)), digits[test])

# %%
# Training
# --------


def new_network(seed):
    """Return a network with random weights."""
    return SequenceNetwork(test_input.shape[2], 128, 6 * COMPONENTS, pooling=None, seed=seed)


def training_data(seed):
    """Return batches of rows, and what reads their input and targets."""
    generator = np.random.default_rng(seed)
    batches = BucketedBatches(np.full(len(rest), 8), 100, seed=seed)

    def read(rows):
        inputs, targets = moves(spread(points[rest[rows]], generator), digits[rest[rows]])
        return (inputs,), (targets,)

    return batches, read


def train(seed):
    """Return a network that can write."""
    network = new_network(seed)
    step_network.train(network, clstm.losses.mixture_density, *training_data(seed), **RECIPE)
    return network


# %%
# Writing
# -------
# A stream takes a step of all digits at a time: from where the pens are now, the network tells the densities of the
# next moves, and one is drawn from each. With a bias above 0 the pen keeps closer to what is likely: a neater hand.


def write(network, digits, bias=0.0, seed=0):
    """Return eight points for each requested digit, (digits, 8, 2)."""
    generator = np.random.default_rng(seed)
    stream = network.lstm.stream(batch_size=len(digits))
    asked = np.eye(10, dtype=np.float32)[digits]
    move = place = np.zeros((len(digits), 2), np.float32)
    places = []
    for _ in range(8):
        h = stream.step(np.concatenate([move, place, asked], axis=1))
        move = clstm.mixture.sample(network.fc(h), bias=bias, seed=generator)
        place = place + move
        places.append(place)
    return np.stack(places, axis=1) * UNIT + 50


# %%
# Two questions
# -------------
# How likely are the moves that people made, of digits held out? In nats a point, the lower the better. And is what
# was written the requested digit? That is said by the most similar of the digits that people wrote.

asked = np.arange(2000) % 10


def recognised(points_written, digits_asked):
    """Return the share whose nearest neighbour among people's digits is the requested digit, in per cent."""
    real, written = (p.reshape(len(p), -1).astype(np.float32) for p in (points[rest], points_written))
    distance = (real**2).sum(axis=1) - 2 * written @ real.T  # squared, but for what all have in common
    return 100 * np.mean(digits[rest][distance.argmin(axis=1)] == digits_asked)


def measure(network, seconds, seed):
    """Return the answers for a network."""
    nats, _ = clstm.losses.mixture_density(network(test_input)[0], test_moves)
    metrics = {
        "nats a point": nats + 2 * np.log(UNIT),
        "recognised %": recognised(write(network, asked, seed=seed), asked),
        "with bias 1 %": recognised(write(network, asked, bias=1.0, seed=seed), asked),
    }
    return runs.Result(metrics, seconds)


def baseline():
    """Return the answers of one Gaussian for each digit and step, whatever the pen did before."""
    generator = np.random.default_rng(2)
    _, shown = moves(spread(points[rest], generator), digits[rest])
    nats, drawn = [], np.empty((len(asked), 8, 2))
    for digit, step in np.ndindex(10, 8):
        sample = shown[digits[rest] == digit, step]
        mean, covariance = sample.mean(axis=0), np.cov(sample.T)
        off = test_moves[digits[test] == digit, step] - mean
        squares = np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
        nats.append((squares + np.log(np.linalg.det(2 * np.pi * covariance))) / 2)
        drawn[asked == digit, step] = generator.multivariate_normal(mean, covariance, (asked == digit).sum())
    written = drawn.cumsum(axis=1) * UNIT + 50
    return {
        "nats a point": np.concatenate(nats).mean() + 2 * np.log(UNIT),
        "recognised %": recognised(written, asked),
        "with bias 1 %": np.nan,
    }


print(f"Of people's digits held out, {recognised(points[test], digits[test]):.1f}% are recognised.")
results = {"clstm": []}
for seed in runs.seeds():
    network, seconds = runs.timed(lambda seed=seed: train(seed))
    results["clstm"].append(measure(network, seconds, seed))
    if runs.torch_is_there():
        from peers import write_digits as peer

        twin = new_network(seed)
        weights, seconds = runs.timed(
            lambda seed=seed, twin=twin: peer.train(twin.state_dict(), *training_data(seed), **RECIPE)
        )
        twin.load_state_dict(weights)
        results.setdefault("PyTorch", []).append(measure(twin, seconds, seed))
runs.show(results, baseline())

# %%
# What it wrote
# -------------
# Above, what people wrote; below, what the network did. The dot is where the pen began.

figure, axes = plt.subplots(6, 10, figsize=(10, 6.6), sharex=True, sharey=True, layout="constrained")
written = write(network, np.tile(np.arange(10), 3), bias=0.5, seed=4).reshape(3, 10, 8, 2)
for digit in range(10):
    real = points[test][digits[test] == digit][:3]
    for column, strokes, colour in ((axes[:3, digit], real, "0.35"), (axes[3:, digit], written[:, digit], "#0072b2")):
        for ax, stroke in zip(column, strokes, strict=True):
            ax.plot(*stroke.T, color=colour, linewidth=2, solid_joinstyle="round", solid_capstyle="round")
            ax.plot(*stroke[0], "o", color=colour, markersize=4)
            ax.set(xlim=(-15, 115), ylim=(-15, 115), aspect="equal", xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    axes[0, digit].set_title(digit)
axes[1, 0].set_ylabel("people", color="0.35", fontsize="x-large")
axes[4, 0].set_ylabel("the network", color="#0072b2", fontsize="x-large")
plt.show()
