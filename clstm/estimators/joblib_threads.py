"""How many threads an estimator takes where joblib runs several of them at once."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext

from clstm._core import threads


def one_thread_in_joblib_threads(num_threads: int | None) -> AbstractContextManager[None]:
    """Return a context in which work takes one thread if joblib runs it in a thread beside others.

    Its processes need no context: joblib sets a limit in their environment. `num_threads` is the estimator's argument;
    a number takes precedence over the context.
    """
    if num_threads is None and threading.current_thread() is not threading.main_thread():
        from joblib.parallel import get_active_backend

        if get_active_backend()[0].nesting_level:
            return threads.at_most(1)
    return nullcontext()
