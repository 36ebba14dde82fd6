"""Streams: the same numbers as whole sequences, a state to read and set, nothing allocated, and every misuse named."""

import copy
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import clstm
from clstm import LSTM, reference
from clstm.stream import Stream
from tests.helpers.arrays import bits, read_only
from tests.helpers.processes import run_python

ROOT = Path(clstm.__file__).parents[1]

pytestmark = pytest.mark.usefixtures("isa")


def problem(lstm, T, B, seed=0):
    """Return x, time first, and a state."""
    rng = np.random.default_rng(seed)
    shapes = [(T, B, lstm.input_size), *[(lstm.num_layers, B, lstm.hidden_size)] * 2]
    x, h, c = (rng.standard_normal(shape).astype(lstm.dtype) for shape in shapes)
    return x, (h, c)


def step_all(stream, x):
    return np.stack([stream.step(x_t) for x_t in x])


def assert_whole(isa, results, expected):
    """Compare with the layer's own call, in which BLAS sums in another order on the portable path."""
    if isa == "portable":
        for result, array in zip(results, expected, strict=True):
            np.testing.assert_allclose(result, array, rtol=0, atol=16 * np.finfo(array.dtype).eps)
    else:
        assert bits(*results) == bits(*expected)


# The numbers ---------------------------------------------------------------------------------------------------------


SIZES = [  # num_layers, B, inputs, H
    (1, 1, 1, 1), (1, 1, 64, 128), (2, 3, 5, 19), (3, 17, 33, 40), (3, 1, 7, 77), (2, 17, 40, 16), (1, 3, 200, 300),
]  # fmt: skip


@pytest.mark.parametrize("num_threads", [1, 2, 8])
@pytest.mark.parametrize(("num_layers", "B", "inputs", "H"), SIZES)
def test_steps_and_chunks_are_the_whole(isa, dtype, num_threads, num_layers, B, inputs, H):
    lstm = LSTM(inputs, H, num_layers, dtype=dtype, seed=0, num_threads=num_threads)
    x, state = problem(lstm, 14, B)
    y, final = lstm(x, state)
    stream = lstm.stream(B, state)
    steps = step_all(stream, x)
    assert_whole(isa, (steps, *stream.state), (y, *final))

    chunked = lstm.stream(B, state)
    cut = [chunked.run(x[:5]), chunked.run(x[5:5]), chunked.step(x[5])[np.newaxis], chunked.run(x[6:])]
    assert bits(np.concatenate(cut), *chunked.state) == bits(steps, *stream.state)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_long_runs_and_wide_layers_on_two_threads(isa, num_layers):
    # so large that the panels are shared out
    lstm = LSTM(64, 512, num_layers, seed=0)
    x, state = problem(lstm, 40, 1)
    found = []
    for num_threads in (1, 2, 8):
        lstm.num_threads = num_threads
        stream = lstm.stream(1, state)
        found.append(bits(step_all(stream, x[:10]), stream.run(x[10:]), *stream.state))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("B", "H"), [(64, 128), (200, 16)])
def test_large_batches_on_several_threads(isa, B, H):
    # so many that the rows are shared out
    lstm = LSTM(16, H, 2, seed=0, num_threads=1)
    x, state = problem(lstm, 3, B)
    expected = step_all(lstm.stream(B, state), x)
    for num_threads in (2, 3, 8):
        lstm.num_threads = num_threads
        assert bits(step_all(lstm.stream(B, state), x)) == bits(expected)


@pytest.mark.parametrize("bias", [False, True])
def test_agrees_with_the_reference(bias):
    lstm = LSTM(5, 19, 3, bias, dtype=np.float64, seed=1)
    x, state = problem(lstm, 9, 4)
    stream = lstm.stream(4, state)
    y = step_all(stream, x)
    expected = reference.lstm(x, *state, lstm.parameters())
    np.testing.assert_allclose(y, expected.y, rtol=0, atol=1e-12)
    np.testing.assert_allclose(stream.state[0], expected.h_n, rtol=0, atol=1e-12)
    np.testing.assert_allclose(stream.state[1], expected.c_n, rtol=0, atol=1e-12)


def test_rows_do_not_depend_on_each_other(isa):
    lstm = LSTM(9, 21, 2, seed=0)
    x, (h, c) = problem(lstm, 6, 5)
    together = step_all(lstm.stream(5, (h, c)), x)
    for row in range(5):
        part = slice(row, row + 1)
        assert_whole(isa, [step_all(lstm.stream(1, (h[:, part], c[:, part])), x[:, part])], [together[:, part].copy()])


def test_nan_passes_and_a_reset_ends_it():
    lstm = LSTM(3, 5, 2, seed=0)
    x, state = problem(lstm, 4, 3)
    stream, twin = lstm.stream(3, state), lstm.stream(3, state)
    broken = x.copy()
    broken[0, 1, 2] = np.nan
    y, expected = step_all(stream, broken), step_all(twin, x)
    assert np.isnan(y[:, 1]).all()
    assert bits(y[:, [0, 2]]) == bits(expected[:, [0, 2]])
    stream.reset([False, True, False])
    fresh = lstm.stream(3)
    fresh.step(x[0])
    assert bits(stream.step(x[0])[1]) == bits(lstm.stream(3).step(x[0])[1])


def test_denormals_are_flushed_and_the_mode_restored(isa):
    lstm = LSTM(1, 1, dtype=np.float64, seed=0)
    tiny = np.array([5e-324])
    stream = lstm.stream(state=(np.full((1, 1, 1), 5e-324), np.full((1, 1, 1), 5e-324)))
    with lstm.updating() as weights:
        for array in weights.values():
            array[...] = 0
    stream = lstm.stream(state=stream.state)
    stream.step(np.zeros(1))
    assert stream.state[1].item() == 0
    assert tiny.item() * 1.0 == 5e-324


# The layouts ---------------------------------------------------------------------------------------------------------


def test_one_row_needs_no_batch_axis():
    lstm = LSTM(4, 6, 2, seed=0)
    x, state = problem(lstm, 5, 1)
    expected = step_all(lstm.stream(1, state), x)
    stream = lstm.stream(1, state)
    y = [stream.step(x_t) for x_t in x[:2, 0]]
    y.append(stream.step(x[2, 0], out=np.empty(6, np.float32)))
    y += list(stream.run(x[3:, 0]))
    assert [part.shape for part in y] == [(6,)] * 5
    assert bits(np.stack(y)) == bits(expected)


def test_runs_are_batch_first_as_their_layer_is():
    lstm, other = LSTM(4, 6, 2, seed=0), LSTM(4, 6, 2, batch_first=True, seed=0)
    for T in (3, 300):
        x, state = problem(lstm, T, 2)
        expected = lstm.stream(2, state).run(x)
        y = other.stream(2, state).run(x.swapaxes(0, 1))
        assert y.shape == (2, T, 6)
        assert y.flags.c_contiguous
        assert bits(y.swapaxes(0, 1)) == bits(expected)
    assert bits(other.stream().run(x[:, 0])) == bits(lstm.stream().run(x[:, 0]))


def memory_map(array, folder):
    mapped = np.memmap(folder / "array", array.dtype, "w+", shape=array.shape)
    mapped[...] = array
    return mapped


@pytest.mark.parametrize(
    "change",
    [
        lambda a, _: a.tolist(),
        lambda a, _: np.asfortranarray(a),
        lambda a, _: np.repeat(a, 2, axis=-1)[..., ::2],
        lambda a, _: np.repeat(a, 2, axis=0)[::2],
        lambda a, _: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
        memory_map,
    ],
    ids=["list", "Fortran", "strided features", "strided rows", "misaligned, read-only", "memory map"],
)
def test_any_input_layout(change, tmp_path):
    lstm = LSTM(5, 7, dtype=np.float64, seed=0)
    x, state = problem(lstm, 2, 3)
    stream, out = lstm.stream(3, state), np.empty((3, 7))
    stream.step(change(x[0], tmp_path))
    assert stream.step(change(x[1], tmp_path), out) is out
    assert bits(out) == bits(step_all(lstm.stream(3, state), x)[1])
    assert bits(lstm.stream(3, state).run(change(x, tmp_path))[1]) == bits(out)


def test_out_is_filled_and_returned(tmp_path):
    lstm = LSTM(5, 7, seed=0)
    x, state = problem(lstm, 2, 3)
    stream, expected = lstm.stream(3, state), step_all(lstm.stream(3, state), x)
    out = np.full((3, 7), np.nan, np.float32)
    assert stream.step(x[0], out=out) is out
    assert bits(out) == bits(expected[0])
    mapped = memory_map(out, tmp_path)
    assert stream.step(x[1], mapped) is mapped
    assert bits(mapped) == bits(expected[1])
    new = lstm.stream(3).step(x[0])
    assert new is not lstm.stream(3).step(x[0])
    assert new.flags.owndata
    assert new.flags.writeable


def test_out_beside_x_in_one_buffer():
    lstm = LSTM(5, 7, seed=0)
    x, _ = problem(lstm, 1, 1)
    buffer = np.zeros(12, np.float32)
    buffer[:5] = x[0, 0]
    lstm.stream().step(buffer[:5], out=buffer[5:])
    assert bits(buffer[5:]) == bits(lstm.stream().step(x[0, 0]))


# State ---------------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_state_is_read_and_set():
    lstm = LSTM(4, 9, 3, seed=0)
    x, state = problem(lstm, 6, 2)
    stream = lstm.stream(2)
    assert [array.shape for array in stream.state] == [(3, 2, 9)] * 2
    assert not any(array.any() for array in stream.state)
    stream.state = state
    assert bits(*stream.state) == bits(*state)
    first = step_all(stream, x[:3])  # an odd number: the halves of the buffer have changed places
    kept = stream.state
    before = bits(*kept)
    rest = step_all(stream, x[3:])
    assert bits(*kept) == before  # a copy
    stream.state = kept
    kept[0][...] = 5
    assert bits(step_all(stream, x[3:])) == bits(rest)
    stream.state = None
    assert bits(stream.step(x[0])) == bits(lstm.stream(2).step(x[0]))
    assert bits(first) == bits(step_all(lstm.stream(2, state), x[:3]))


def test_reset_of_some_rows():
    lstm = LSTM(4, 9, 2, seed=0)
    x, state = problem(lstm, 6, 4)
    stream, fresh, going_on = lstm.stream(4, state), lstm.stream(4), lstm.stream(4, state)
    for each in (stream, going_on):
        step_all(each, x[:3])
    mask = np.array([True, False, False, True])
    stream.reset(mask)
    y, new, old = (step_all(each, x[3:]) for each in (stream, fresh, going_on))
    assert bits(y[:, mask]) == bits(new[:, mask])
    assert bits(y[:, ~mask]) == bits(old[:, ~mask])
    stream.reset(np.zeros(4, bool))
    assert bits(stream.state[0][:, ~mask]) == bits(going_on.state[0][:, ~mask])
    stream.reset()
    assert not any(array.any() for array in stream.state)
    assert bits(step_all(stream, x[3:])) == bits(new)


def test_keeps_the_weights_of_its_making():
    lstm = LSTM(4, 9, 2, seed=0)
    x, state = problem(lstm, 6, 2)
    expected = step_all(lstm.stream(2, state), x)
    stream = lstm.stream(2, state)
    with lstm.updating() as weights:
        weights["weight_hh_l0"] *= 2
    assert bits(step_all(stream, x[:3]), stream.run(x[3:])) == bits(expected[:3], expected[3:])
    assert bits(step_all(lstm.stream(2, state), x)) != bits(expected)
    del lstm
    stream.state = state
    assert bits(step_all(stream, x)) == bits(expected)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy])
def test_a_copy_goes_its_own_way(clone):
    lstm = LSTM(4, 9, 2, batch_first=True, seed=0)
    x, state = problem(lstm, 7, 2)
    stream = lstm.stream(2, state)
    expected = step_all(stream, x)
    stream.state = state
    stream.step(x[0])
    twin = clone(stream)
    assert type(twin) is Stream
    stream.reset()
    assert bits(step_all(twin, x[1:])) == bits(expected[1:])
    assert not stream.state[0].any()
    assert twin.run(x.swapaxes(0, 1)).shape == (2, 7, 9)


def test_is_not_pickled():
    stream = LSTM(4, 9, seed=0).stream()
    with pytest.raises(TypeError, match=r"can't be pickled; pickle its LSTM and its state"):
        pickle.dumps(stream)


def test_tells_what_it_is():
    stream = LSTM(4, 9, 2, dtype=np.float64, seed=0).stream(3)
    assert repr(stream) == "Stream(4, 9, num_layers=2, dtype=float64, batch_size=3)"
    assert repr(LSTM(4, 9, seed=0).stream()) == "Stream(4, 9, batch_size=1)"
    sizes = stream.batch_size, stream.input_size, stream.hidden_size, stream.num_layers, stream.item_size
    assert sizes == (3, 4, 9, 2, 8)
    assert stream.dtype == np.float64
    with pytest.raises(AttributeError):
        stream.batch_size = 5


# Errors --------------------------------------------------------------------------------------------------------------

X = np.zeros((2, 3), np.float32)
OUT = np.zeros((2, 4), np.float32)
SHARED = np.zeros(14, np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((X.astype(np.float64),), TypeError, "x has dtype float64, expected float32"),
        ((X.astype(">f4"),), TypeError, "x has dtype >f4"),
        ((X[:, :2],), ValueError, r"x has shape \(2, 2\), expected \(batch=2, input_size=3\)$"),
        ((X[:1],), ValueError, r"x has shape \(1, 3\)"),
        ((X[0],), ValueError, r"x has shape \(3,\)"),
        ((X[np.newaxis],), ValueError, r"x has shape \(1, 2, 3\)"),
        ((None,), TypeError, "x has dtype object"),
        ((np.ma.masked_array(X, mask=X == 0),), TypeError, "x is a masked array"),
        ((X, OUT.astype(np.float64)), TypeError, "out has dtype float64, expected float32"),
        ((X, OUT[:, :3].copy()), ValueError, r"out has shape \(2, 3\), expected \(batch=2, hidden_size=4\)"),
        ((X, OUT[0]), ValueError, r"out has shape \(4,\)"),
        ((X, OUT.tolist()), TypeError, "out is list, expected an ndarray"),
        ((X, read_only(OUT)), ValueError, "out can't be written to"),
        ((X, np.asfortranarray(OUT)), ValueError, "C-contiguous"),
        ((X, np.zeros((2, 8), np.float32)[:, ::2]), ValueError, "C-contiguous"),
        ((X, np.zeros(33, np.uint8)[1:].view(np.float32).reshape(2, 4)), ValueError, "aligned"),
        ((SHARED[:6].reshape(2, 3), SHARED[5:13].reshape(2, 4)), ValueError, "out shares memory with x"),
    ],
)
def test_bad_steps_name_what_is_wrong_and_change_nothing(arguments, error, match):
    lstm = LSTM(3, 4, seed=0)
    state = np.ones((1, 2, 4), np.float32), np.ones((1, 2, 4), np.float32)
    stream = lstm.stream(2, state)
    with pytest.raises(error, match=match):
        stream.step(*arguments)
    assert bits(*stream.state) == bits(*state)
    assert not OUT.any()
    stream.step(X)


def test_out_can_not_be_x():
    stream = LSTM(4, 4, seed=0).stream()
    x = np.ones((1, 4), np.float32)
    with pytest.raises(ValueError, match="out shares memory with x"):
        stream.step(x, out=x)
    with pytest.raises(ValueError, match=r"out has shape \(1, 4\), expected \(hidden_size=4,\)"):
        stream.step(x[0], out=np.empty((1, 4), np.float32))


def test_other_misuse_is_named():
    stream = LSTM(3, 4, 2, seed=0).stream(2)
    with pytest.raises(ValueError, match=r"chunk has shape \(5, 3\), expected \(time, batch=2, input_size=3\)"):
        stream.run(np.zeros((5, 3), np.float32))
    with pytest.raises(TypeError, match="chunk has dtype float64"):
        stream.run(np.zeros((5, 2, 3)))
    with pytest.raises(TypeError, match="mask has dtype int64, expected bool"):
        stream.reset(np.array([0, 1]))
    with pytest.raises(ValueError, match=r"mask has shape \(3,\), expected \(batch=2,\)"):
        stream.reset([True, False, True])
    with pytest.raises(TypeError, match=r"\(h, c\) is ndarray, expected a pair"):
        stream.state = np.zeros((2, 2, 4), np.float32)
    with pytest.raises(ValueError, match=r"c has shape \(1, 2, 4\), expected \(num_layers=2, batch=2, hidden_size=4\)"):
        stream.state = np.zeros((2, 2, 4), np.float32), np.zeros((1, 2, 4), np.float32)
    with pytest.raises(TypeError, match="takes"):
        stream.step()
    with pytest.raises(TypeError):
        Stream.__new__(Stream)
    with pytest.raises(TypeError):
        Stream(None)


def test_bad_streams_are_not_made():
    with pytest.raises(ValueError, match="bidirectional is True"):
        LSTM(3, 4, bidirectional=True).stream()
    lstm = LSTM(3, 4)
    for batch_size, error in ((0, ValueError), (1.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="batch_size is"):
            lstm.stream(batch_size)
    with pytest.raises(TypeError, match="h has dtype float64"):
        lstm.stream(1, (np.zeros((1, 1, 4)), np.zeros((1, 1, 4))))
    for batch_size in (2**62, 2**59, 2**70):
        with pytest.raises((MemoryError, ValueError)):
            lstm.stream(batch_size)


# Threads and memory --------------------------------------------------------------------------------------------------


def test_a_second_thread_at_the_same_time_is_refused():
    stream = LSTM(3, 4, seed=0).stream()
    x, before = np.zeros((1, 3), np.float32), bits(*stream.state)
    uses = [
        lambda: stream.step(x),
        lambda: stream.run(x),
        lambda: stream.reset(),
        lambda: stream.state,
        lambda: setattr(stream, "state", None),
        lambda: copy.copy(stream),
    ]
    with stream._alone():
        for use in uses:
            with pytest.raises(RuntimeError, match="another thread is using this stream"):
                use()
    assert bits(*stream.state) == before
    for use in uses:
        use()


def test_threads_that_share_a_stream_lose_no_step():
    lstm = LSTM(64, 256, seed=0, num_threads=1)
    x, _ = problem(lstm, 1, 1)
    stream, taken, start = lstm.stream(), [], threading.Barrier(4)

    def work():
        count = 0
        start.wait()
        for _ in range(300):
            try:
                stream.step(x[0])
                count += 1
            except RuntimeError:
                pass
        taken.append(count)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    alone = lstm.stream()
    for _ in range(sum(taken)):
        alone.step(x[0])
    assert bits(*stream.state) == bits(*alone.state)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_streams_of_one_layer_run_at_once(num_threads):
    lstm = LSTM(16, 200, 2, seed=0, num_threads=num_threads)
    inputs = [problem(lstm, 20, 1, seed=i)[0] for i in range(8)]
    expected = [bits(step_all(lstm.stream(), x)) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda x: bits(step_all(lstm.stream(), x)), inputs)) == expected


def test_other_threads_run_during_a_step():
    # A step of this size takes a while: were the lock kept, the other thread would not have begun when it returns.
    lstm = LSTM(400, 500, seed=0, num_threads=1)
    stream, x = lstm.stream(40), np.zeros((40, 400), np.float32)
    interval = sys.getswitchinterval()
    began, done = threading.Event(), threading.Event()

    def work():
        began.wait()
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    sys.setswitchinterval(1000)  # nobody is made to give the lock away
    try:
        began.set()
        for _ in range(1000):
            stream.step(x)
            if done.is_set():
                break
        assert done.is_set()
    finally:
        sys.setswitchinterval(interval)
        worker.join()


@pytest.mark.parametrize(("num_threads", "H", "repeats"), [(1, 48, 5_000), (2, 600, 10)])
def test_a_step_allocates_nothing(num_threads, H, repeats):
    lstm = LSTM(32, H, 2, seed=0, num_threads=num_threads)
    stream = lstm.stream()
    x, out = np.zeros((1, 32), np.float32), np.empty((1, H), np.float32)

    def blocks():
        for _ in range(repeats):
            stream.step(x, out)
            stream.step(x, out=out)
        return sys.getallocatedblocks()

    counts = [blocks() for _ in range(3)]
    assert abs(counts[-1] - counts[1]) < repeats / 5  # what pytest itself allocates, but not a block a step
    tracemalloc.start()
    try:
        stream.step(x, out)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        stream.step(x, out)
        assert tracemalloc.get_traced_memory()[1] - before < 80  # less than an array, even for the time of the step
    finally:
        tracemalloc.stop()


FORK = """
    import os, warnings
    import numpy as np
    from clstm import LSTM
    warnings.simplefilter("ignore")
    lstm = LSTM(512, 512, seed=0, num_threads=2)
    x = np.random.default_rng(0).standard_normal((4, 1, 512), np.float32)
    expected = lstm.stream().run(x)
    stream = lstm.stream()
    steps = [stream.step(x[0])]
    pid = os.fork()
    if pid == 0:
        steps += [stream.step(x_t) for x_t in x[1:]]
        same = os.environ["CLSTM_ISA"] == "portable" or np.array_equal(np.stack(steps), expected)
        os._exit(0 if same and np.array_equal(lstm.stream().run(x), expected) else 1)
    assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.subprocess
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_stream_goes_on_after_a_fork(isa):
    # A child that opened a parallel region would wait for its parent's threads for ever.
    run_python(FORK, options=["-W", "ignore"], timeout=60, CLSTM_ISA=isa)


# From Cython ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def follow(tmp_path_factory):
    """The example of docs/streaming.md, built outside the package as a user would."""
    text = (ROOT / "docs" / "streaming.md").read_text(encoding="utf-8")
    (code,) = (part.partition("```")[0] for part in text.split("```cython\n")[1:])
    folder = tmp_path_factory.mktemp("follow")
    (folder / "follow.pyx").write_text(code)
    subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "--quiet", "follow.pyx"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "CFLAGS": "-O0"},
        check=True,
        capture_output=True,
    )
    sys.path.insert(0, str(folder))
    try:
        import follow
    finally:
        sys.path.remove(str(folder))
    return follow


@pytest.mark.subprocess
def test_other_cython_code_steps_without_the_lock(follow):
    lstm = LSTM(6, 20, 2, seed=0)
    x, state = problem(lstm, 30, 3)
    stream, y = lstm.stream(3, state), np.empty((30, 3, 20), np.float32)
    follow.follow(stream, x, y)
    assert bits(y) == bits(lstm.stream(3, state).run(x))
    with stream._alone(), pytest.raises(RuntimeError, match="in use"):
        follow.follow(stream, x, y)
    with pytest.raises(TypeError, match=r"expected clstm\._core\._stream\.Stream"):
        follow.follow(lstm, x, y)
