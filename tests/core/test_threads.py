import os
import subprocess
import sys
import textwrap
import warnings
from functools import partial

import numpy as np
import pytest

from clstm._core import threads
from clstm._core.vector import runtime as _runtime
from tests.helpers.processes import environment, run_python

needs_fork = pytest.mark.skipif(
    not hasattr(os, "fork") or not _runtime.has_openmp(), reason="no fork on this system, or no OpenMP in this build"
)


@pytest.fixture
def fresh(monkeypatch):
    """A process that may use 8 processors, has no quota and nothing in its environment."""
    for name in ("CLSTM_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_processors", lambda: 8)
    monkeypatch.setattr(threads, "_own_cpu_quota", lambda: None)
    for name, value in {
        "_chosen": None,
        "_default": None,
        "_region_opened": False,
        "_one_because": None,
        "_warned": False,
    }.items():
        monkeypatch.setattr(threads, name, value)
    return monkeypatch


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


# ------------------------------------------------------------------------------------------- what is asked for


@pytest.mark.smoke
def test_default_is_every_processor_available(fresh):
    assert threads.get_num_threads() == 8
    assert threads.source() == "processors available"


def test_processors_are_those_this_process_may_run_on():
    expected = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert threads._processors() == expected


def test_argument_comes_before_set_num_threads_before_the_environment(fresh):
    fresh.setenv("CLSTM_NUM_THREADS", "2")
    assert threads.resolve(None) == 2
    threads.set_num_threads(3)
    assert threads.resolve(None) == 3
    assert threads.resolve(5) == 5
    assert threads.get_num_threads() == 3
    assert threads.source() == "set_num_threads"


def test_set_num_threads_may_exceed_the_processors(fresh):
    threads.set_num_threads(64)
    assert threads.resolve() == 64


def test_set_num_threads_none_looks_the_default_up_again(fresh):
    assert threads.get_num_threads() == 8
    threads.set_num_threads(3)
    fresh.setenv("OMP_NUM_THREADS", "4")
    threads.set_num_threads(None)
    assert threads.get_num_threads() == 4


def test_environment_is_read_once(fresh):
    assert threads.get_num_threads() == 8
    fresh.setenv("CLSTM_NUM_THREADS", "1")
    assert threads.get_num_threads() == 8


@pytest.mark.parametrize(
    ("clstm", "omp", "quota", "expected", "source"),
    [
        ("3", None, None, 3, "CLSTM_NUM_THREADS"),
        (None, "5", None, 5, "OMP_NUM_THREADS"),
        ("3", "2", None, 2, "OMP_NUM_THREADS"),
        ("2", "3", None, 2, "CLSTM_NUM_THREADS"),
        ("16", "32", None, 8, "processors available"),
        ("4", "6", 3, 3, "CPU quota"),
        ("4", "4", 4, 4, "CLSTM_NUM_THREADS"),
        (" 3 ", "", None, 3, "CLSTM_NUM_THREADS"),
        ("", None, None, 8, "processors available"),
    ],
)
def test_default_is_the_smallest_limit(fresh, clstm, omp, quota, expected, source):
    for name, value in (("CLSTM_NUM_THREADS", clstm), ("OMP_NUM_THREADS", omp)):
        if value is not None:
            fresh.setenv(name, value)
    fresh.setattr(threads, "_own_cpu_quota", lambda: quota)
    assert threads.get_num_threads() == expected
    assert threads.source() == source


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "4,2", "1_0", "٤", "9" * 5000])
def test_bad_clstm_num_threads_is_named_at_first_use(fresh, value):
    fresh.setenv("CLSTM_NUM_THREADS", value)
    with pytest.raises(ValueError, match=r"CLSTM_NUM_THREADS is .*expected an integer from 1"):
        threads.get_num_threads()
    with pytest.raises(ValueError, match="CLSTM_NUM_THREADS"):
        threads.resolve()
    assert threads.resolve(2) == 2  # asked for, so the variable isn't needed


@pytest.mark.parametrize(
    ("value", "expected"), [("4,2", 4), (" 3 , 1", 3), ("two", 8), ("0", 8), ("-2", 8), (",", 8), ("9" * 5000, 8)]
)
def test_omp_num_threads_is_read_as_openmp_reads_it(fresh, value, expected):
    fresh.setenv("OMP_NUM_THREADS", value)
    assert threads.get_num_threads() == expected


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (-1, ValueError), (1025, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_bad_set_num_threads(fresh, n, error):
    with pytest.raises(error, match=r"n is .*expected"):
        threads.set_num_threads(n)
    assert threads.get_num_threads() == 8


def test_numpy_integer(fresh):
    threads.set_num_threads(np.int64(3))
    assert threads.resolve() == 3


def test_absurd_argument(fresh):
    with pytest.raises(ValueError, match="num_threads is 5000, expected at most 1024"):
        threads.resolve(5000)


# ----------------------------------------------------------------------------------------------- control groups


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("100000 100000\n", 1),
        ("10000 100000\n", 1),
        ("0 100000\n", None),
        ("max 100000\n", None),
        ("", None),
        ("200000", None),
        ("nonsense here\n", None),
        ("1 2 3", None),
        ("200000 0\n", None),
    ],
)
def test_quota_version_2(tmp_path, content, expected):
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", content)
    assert threads.cpu_quota(str(tmp_path)) == expected


def test_quota_version_2_of_every_group_above(tmp_path):
    write(tmp_path, "proc/self/cgroup", "0::/user.slice/session.scope\n")
    write(tmp_path, "sys/fs/cgroup/user.slice/session.scope/cpu.max", "max 100000\n")
    write(tmp_path, "sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n")
    assert threads.cpu_quota(str(tmp_path)) == 3
    write(tmp_path, "sys/fs/cgroup/user.slice/session.scope/cpu.max", "50000 50000\n")
    assert threads.cpu_quota(str(tmp_path)) == 1


@pytest.mark.parametrize("group", ["/docker/0123abcd", "/../../other", "/a:b"])
def test_quota_version_2_where_the_group_is_not_visible(tmp_path, group):
    write(tmp_path, "proc/self/cgroup", f"0::{group}\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "300000 100000\n")
    write(tmp_path, "sys/other/cpu.max", "100000 100000\n")
    assert threads.cpu_quota(str(tmp_path)) == 3


def test_quota_group_name_with_colon(tmp_path):
    write(tmp_path, "proc/self/cgroup", "0::/a:b\n")
    write(tmp_path, "sys/fs/cgroup/a:b/cpu.max", "300000 100000\n")
    assert threads.cpu_quota(str(tmp_path)) == 3


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        ("200000", "100000", 2),
        ("50000", "100000", 1),
        ("-1", "100000", None),
        ("200000", "0", None),
        ("", "", None),
    ],
)
def test_quota_version_1(tmp_path, mount, quota, period, expected):
    write(tmp_path, "proc/self/cgroup", "7:memory:/\n4:cpu,cpuacct:/\n1:name=systemd:/\n")
    write(tmp_path, f"sys/fs/cgroup/{mount}/cpu.cfs_quota_us", quota + "\n")
    write(tmp_path, f"sys/fs/cgroup/{mount}/cpu.cfs_period_us", period + "\n")
    assert threads.cpu_quota(str(tmp_path)) == expected


def test_quota_version_1_of_every_group_above(tmp_path):
    write(tmp_path, "proc/self/cgroup", "4:cpuacct,cpu:/docker/0123/inner\n")
    for group, quota in (("docker/0123/inner", -1), ("docker/0123", 150000), ("docker", 900000)):
        write(tmp_path, f"sys/fs/cgroup/cpu/{group}/cpu.cfs_quota_us", f"{quota}\n")
        write(tmp_path, f"sys/fs/cgroup/cpu/{group}/cpu.cfs_period_us", "100000\n")
    assert threads.cpu_quota(str(tmp_path)) == 2


def test_quota_of_both_versions_at_once(tmp_path):
    write(tmp_path, "proc/self/cgroup", "4:cpu:/\n3:cpuset:/\n0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400000\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    write(tmp_path, "sys/fs/cgroup/unified/cpu.max", "300000 100000\n")
    assert threads.cpu_quota(str(tmp_path)) == 3


def test_no_control_groups(tmp_path):
    assert threads.cpu_quota(str(tmp_path)) is None
    write(tmp_path, "proc/self/cgroup", "\nrubbish\n0::/\n")
    assert threads.cpu_quota(str(tmp_path)) is None


# ------------------------------------------------------------------------------------------------------- OpenMP


def test_openmp_limited_after_the_import_limits_all(fresh):
    fresh.setattr(threads, "_OPENMP_AT_FIRST", 8)
    fresh.setattr(threads.openmp, "most_threads", lambda: 3)
    assert threads.get_num_threads() == 3
    assert threads.source() == "omp_set_num_threads"
    assert [threads.resolve(), threads.resolve(2), threads.resolve(5)] == [3, 2, 3]
    fresh.setattr(threads.openmp, "most_threads", lambda: 8)
    assert [threads.resolve(), threads.resolve(20)] == [8, 20]
    assert threads.source() == "processors available"


def test_openmp_raised_after_the_import_changes_nothing(fresh):
    fresh.setattr(threads, "_OPENMP_AT_FIRST", 1)
    fresh.setattr(threads.openmp, "most_threads", lambda: 64)
    assert [threads.resolve(), threads.resolve(2)] == [8, 2]


@pytest.mark.peer
@pytest.mark.subprocess
@needs_fork
def test_threadpoolctl_sees_and_limits_us():
    """In a fresh process, where the threads that a call starts can be counted."""
    pytest.importorskip("threadpoolctl")
    run_python(
        """
    import os
    import numpy as np, threadpoolctl, clstm
    from clstm._core import backend, threads

    def tasks():
        return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0

    x = np.zeros((50, 64, 64), np.float32)
    clstm.LSTM(64, 64, num_threads=1)(x)  # loads all that brings threads of its own
    before = tasks()
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        lstm = clstm.LSTM(64, 64, num_threads=4)
        lstm.backward(lstm.forward_train(x)[2], x)
        assert threads.resolve(4) == clstm.get_num_threads() == 1
    assert tasks() == before
    assert any(found["user_api"] == "openmp" for found in threadpoolctl.threadpool_info())
    assert threads.resolve(4) == 4
    lstm(x)
    assert tasks() > before or not before or backend.isa() == "portable"
    """,
        OMP_NUM_THREADS="4",
    )


@pytest.mark.subprocess
@pytest.mark.parametrize("chosen", ["", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_short_spins_are_for_our_openmp_alone(chosen):
    code = """
    import os
    seen = dict(os.environ)
    import clstm
    assert dict(os.environ) == seen
    """
    settings = {"GOMP_SPINCOUNT": None, "OMP_WAIT_POLICY": None, "OMP_DISPLAY_ENV": "verbose"}
    if chosen:
        settings[chosen] = {"GOMP_SPINCOUNT": "17", "OMP_WAIT_POLICY": "PASSIVE"}[chosen]
    result = run_python(code, **settings)
    if "GOMP_SPINCOUNT" in result.stderr:  # GNU's OpenMP says what it has read
        expected = {"": threads.openmp.SPINS, "GOMP_SPINCOUNT": "17", "OMP_WAIT_POLICY": "0"}[chosen]
        assert f"GOMP_SPINCOUNT = '{expected}'" in result.stderr


@pytest.mark.subprocess
def test_more_threads_than_processors_in_several_processes_end_with_the_same_bits():
    code = """
    import hashlib
    import numpy as np
    import clstm.layers.lstm
    from clstm._core.vector import plan as _plan
    digest = hashlib.sha256()
    for directions in (1, 2):
        lstm = clstm.LSTM(40, 150, bidirectional=directions == 2, seed=0, num_threads=8)
        x = np.random.default_rng(0).standard_normal((20, 12, 40), np.float32)
        for row_groups in (1, 2, 8):
            _plan.force(THREADS, directions == 2 and THREADS > 1, row_groups, 3)
            y, _, context = lstm.forward_train(x)
            gradients = lstm.backward(context, np.ones_like(y))
            for array in (lstm(x)[0], y, gradients.x, *gradients.weights.values()):
                digest.update(array.tobytes())
    print(digest.hexdigest())
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code).replace("THREADS", threads)],
            env=environment(), stdout=subprocess.PIPE, text=True,
        )
        for threads in ("1", "8", "8", "8", "8")
    ]  # fmt: skip
    digests = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 5
    assert len(digests) == 1


# --------------------------------------------------------------------------------------------------------- fork


run_warned = partial(run_python, options=["-W", "always"], timeout=60)

FORK = """
    import os
    def in_child(function):
        pid = os.fork()
        if pid == 0:
            try:
                function()
            except BaseException as error:
                print(error, flush=True)
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.subprocess
@needs_fork
def test_child_of_a_parallel_parent_stays_on_one_thread_and_says_so_once():
    result = run_warned(
        FORK
        + """
    from clstm._core import threads
    threads.set_num_threads(4)
    assert threads.resolve() == 4
    def child():
        assert threads.get_num_threads() == 1
        assert threads.source() == "forked after a parallel region"
        assert [threads.resolve(), threads.resolve(3), threads.resolve(1)] == [1, 1, 1]
        threads.set_num_threads(8)
        assert threads.resolve() == 1
        in_child(lambda: threads.resolve(2))
    in_child(child)
    assert threads.resolve() == 4
    """
    )
    assert result.stderr.count("RuntimeWarning: this process was forked") == 1


@pytest.mark.subprocess
@needs_fork
def test_explicit_argument_counts_as_a_parallel_region_and_is_limited_too():
    result = run_warned(
        FORK
        + """
    from clstm._core import threads
    assert threads.resolve(2) == 2
    def child():
        assert threads.resolve(2) == 1
    in_child(child)
    """,
        CLSTM_NUM_THREADS="1",
    )
    assert result.stderr.count("RuntimeWarning") == 1


@pytest.mark.subprocess
@needs_fork
def test_child_says_nothing_where_one_thread_was_wanted_anyway():
    result = run_warned(
        FORK
        + """
    from clstm._core import threads
    threads.resolve(2)
    threads.set_num_threads(1)
    def child():
        assert threads.resolve() == 1
    in_child(child)
    """
    )
    assert result.stderr == ""


@pytest.mark.subprocess
@needs_fork
def test_child_of_a_parent_without_parallel_region_uses_threads_and_its_own_environment():
    result = run_warned(
        FORK
        + """
    from clstm._core import threads
    threads._processors = lambda: 8
    threads._own_cpu_quota = lambda: None
    assert threads.get_num_threads() == 1  # asks, opens nothing
    assert threads.resolve() == 1
    def child():
        os.environ["CLSTM_NUM_THREADS"] = "6"
        assert threads.resolve() == 6
    in_child(child)
    """,
        CLSTM_NUM_THREADS="1",
        OMP_NUM_THREADS="8",
    )
    assert result.stderr == ""


def test_warning_as_error_is_raised_once(fresh):
    fresh.setattr(threads, "_one_because", threads._FORKED)
    with pytest.raises(RuntimeWarning, match="forked"):
        threads.resolve(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert threads.resolve(2) == 1


def test_one_thread_without_openmp(fresh):
    fresh.setattr(threads, "_one_because", "built without OpenMP")
    threads.set_num_threads(4)
    assert [threads.get_num_threads(), threads.resolve(), threads.resolve(2)] == [1, 1, 1]
    assert threads.source() == "built without OpenMP"


@pytest.mark.subprocess
@needs_fork
def test_lstm_works_after_a_fork():
    """The real thing: a child that opened a region after its parent did would hang."""
    run_warned(
        FORK
        + """
    import warnings
    import numpy as np
    from clstm.layers.lstm import LSTM
    warnings.simplefilter("ignore")
    lstm = LSTM(64, 128, seed=0, num_threads=2)
    x = np.random.default_rng(0).standard_normal((30, 16, 64), np.float32)
    def train():
        y, _, context = lstm.forward_train(x)
        gradients = lstm.backward(context, np.ones_like(y))
        return [y, gradients.x, *gradients.weights.values()]
    expected = train()
    def child():
        for a, b in zip(train(), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    in_child(child)
    """
    )
