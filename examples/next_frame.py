"""
The next frame of a video
=========================

What will a street look like in a twenty-fifth of a second? The last frame again is a good guess, and hard to beat. One
small LSTM watches a single pixel and its neighbours, with the same weights at every place of the picture; its state
remembers how things moved there and how the camera's compression flickers.
"""

import matplotlib.pyplot as plt
import numpy as np
import runs
import step_network
from datasets import load_city_video
from numpy.lib.stride_tricks import sliding_window_view

import clstm
from clstm.models import SequenceNetwork
from clstm.train.batches import BucketedBatches

RECIPE = {"n_epochs": 4, "lr": 3e-3}

# %%
# The video
# ---------
# 190 frames of 36 by 64 pixels, in two shots. The last 40 frames are held out; the first 150 are the first shot and the
# beginning of the second. ``--validate`` compares recipes without looking at the last 40.

options = runs.options(validate="learn from 140 frames and report on the ten behind them, to compare recipes by")
frames = load_city_video().astype(np.float32)
CUT, TEST = 116, 150
if options.validate:
    frames, TEST = frames[:150], 140
shots = [frames[:CUT], frames[CUT:TEST]]

# %%
# What is learnt of a pixel is its change to the next frame, and what is seen of it are the eight differences to its
# neighbours and the last changes of all nine. As a unit of grey the shot's usual change is taken, for one of the shots
# is much quieter than the other.


def watch(shot, unit):
    """Return each pixel's inputs (pixels, frames - 1, 17) and next changes (pixels, frames - 1, 1)."""
    change = np.diff(shot, axis=0, prepend=shot[:1])
    around = [
        sliding_window_view(np.pad(of, ((0, 0), (1, 1), (1, 1)), mode="edge"), (3, 3), axis=(1, 2)).reshape(-1, 9)
        for of in (shot, change)
    ]
    contrast = np.delete(around[0] - shot.reshape(-1, 1), 4, axis=1) / 5  # it is larger than the changes
    inputs = np.concatenate([contrast, around[1]], axis=1).reshape(len(shot), -1, 17)
    targets = np.diff(shot, axis=0).reshape(len(shot) - 1, -1, 1)
    return [(array / unit).swapaxes(0, 1) for array in (inputs[:-1], targets)]


def usual_change(shot):
    """Return the root of the mean square of the changes from frame to frame."""
    return np.sqrt(np.mean(np.diff(shot, axis=0) ** 2))


# %%
# The world looks alike in a mirror, so each shot is shown eight times: turned and mirrored.


def symmetries(shot):
    """Yield the shot in its eight positions."""
    for turned in (shot, shot.swapaxes(1, 2)):
        for mirrored in (turned, turned[:, ::-1]):
            yield from (mirrored, mirrored[:, :, ::-1])


watched = [[watch(position, usual_change(shot)) for position in symmetries(shot)] for shot in shots]
sequences = [[np.concatenate(arrays) for arrays in zip(*positions, strict=True)] for positions in watched]
in_shot = [len(inputs) for inputs, _ in sequences]

# %%
# Training
# --------


def training_data(seed):
    """Return batches of rows, each of one shot, and what reads their inputs and targets."""
    lengths = np.repeat([inputs.shape[1] for inputs, _ in sequences], in_shot)
    batches = BucketedBatches(lengths, 128, pool=len(lengths), seed=seed)  # one pool: sorted by length, so by shot

    def read(rows):
        # The second shot is the shorter one
        inputs, targets = sequences[int(rows[0] >= in_shot[0])]
        rows = rows % in_shot[0]
        return (inputs[rows],), (targets[rows],)

    return batches, read


def new_network(seed):
    """Return a network with random weights."""
    return SequenceNetwork(17, 48, 1, pooling=None, seed=seed)


def train(seed):
    """Return a network that knows how pixels change."""
    network = new_network(seed)
    step_network.train(network, clstm.losses.mse, *training_data(seed), **RECIPE)
    return network


# %%
# Prediction
# ----------
# The second shot is watched from its beginning; of what is predicted, the frames held out count.

unit = usual_change(shots[1])
test_inputs, _ = watch(frames[CUT:], unit)
truth, last = frames[TEST:], frames[TEST - 1 : -1]


def predict(network):
    """Return the frames held out, each predicted from those before it."""
    change = network(test_inputs)[0][:, -len(truth) :, 0].T * unit
    return last + change.reshape(truth.shape)


def measure(network, seconds):
    """Return the mean squared error, in grey levels of 0 to 255, and how far it is below that of the last frame."""
    return score(predict(network), seconds)


def score(prediction, seconds):
    error = np.mean((prediction - truth) ** 2)
    return runs.Result(
        {"squared error": error, "below baseline %": 100 * (1 - error / np.mean((last - truth) ** 2))}, seconds
    )


# %%
# How much of it would do without memory? A linear regression sees the same inputs, of the present only.


def regress():
    """Return the frames held out as a linear regression predicts them."""
    inputs, targets = (np.concatenate([pair[i].reshape(-1, pair[i].shape[2]) for pair in sequences]) for i in (0, 1))
    weights = np.linalg.solve(inputs.T @ inputs, inputs.T @ targets)
    return last + (test_inputs[:, -len(truth) :] @ weights)[..., 0].T.reshape(truth.shape) * unit


results = {"linear": [score(*runs.timed(regress))], "clstm": []}
for seed in range(options.seeds):
    network, seconds = runs.timed(lambda seed=seed: train(seed))
    results["clstm"].append(measure(network, seconds))
    if runs.torch_is_there():
        from peers import next_frame as peer

        twin = new_network(seed)
        weights, seconds = runs.timed(
            lambda seed=seed, twin=twin: peer.train(twin.state_dict(), *training_data(seed), **RECIPE)
        )
        twin.load_state_dict(weights)
        results.setdefault("PyTorch", []).append(measure(twin, seconds))
runs.show(results, score(last, 0.0).metrics)

# %%
# A frame, and the errors
# -----------------------

prediction = predict(network)
shown = int(np.argsort(np.mean((last - truth) ** 2, axis=(1, 2)))[-3])  # one where much changes
errors = np.abs(prediction[shown] - truth[shown]), np.abs(last[shown] - truth[shown])
figure, axes = plt.subplots(2, 3, figsize=(11, 5.2), layout="constrained")
greys = {"cmap": "gray", "vmin": 0, "vmax": truth[shown].max()}
for ax, (title, image) in zip(
    axes[0],
    {"last frame": last[shown], "prediction": prediction[shown], "truth": truth[shown]}.items(),
    strict=True,
):
    ax.imshow(image, **greys)
    ax.set_title(title)
for ax, title, error in zip(axes[1], ("last frame's error", "prediction's error"), errors[::-1], strict=False):
    image = ax.imshow(error, cmap="cividis", vmin=0, vmax=np.quantile(errors[1], 0.998))
    ax.set_title(f"{title} (mean square {np.mean(error**2):.1f})")
figure.colorbar(image, ax=axes[1, :2], location="bottom", shrink=0.6, label="grey levels")
for ax in (*axes[0], *axes[1, :2]):
    ax.set(xticks=[], yticks=[])
numbers = np.arange(TEST, len(frames))
for name, guess, colour in (("last frame", last, "0.5"), ("prediction", prediction, "#0072b2")):
    axes[1, 2].plot(numbers, np.mean((guess - truth) ** 2, axis=(1, 2)), color=colour, label=name)
axes[1, 2].set(xlabel="frame", ylabel="mean squared error", ylim=(0, 13))
axes[1, 2].legend(frameon=False, loc="upper center", ncols=2)
plt.show()
