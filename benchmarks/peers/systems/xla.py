"""JAX, with an LSTM written by hand, and Keras on JAX: both are programs that XLA compiles for the problem.

XLA's CPU client makes its pool of threads when it starts, of as many as the environment's NPROC says; nothing else
limits them (the flags that are told of, such as xla_cpu_multi_thread_eigen, do so no more). So another number of
threads takes another client.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np

from .base import System

_pool: int | None = None  # threads of the client that is in use


def import_jax(num_threads: int):
    """Return JAX with a pool of so many threads; what was compiled or put on the device before is lost."""
    global _pool
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import jax
    import jax.extend

    jax.config.update("jax_enable_x64", True)  # float64 arrays stay; float32 ones do so anyway
    if _pool != num_threads:
        os.environ["NPROC"] = str(num_threads)
        jax.clear_caches()
        jax.extend.backend.clear_backends()
        gc.collect()
        before = pool_threads()
        jax.devices()
        made = len(pool_threads() - before)
        if before | pool_threads() and made != num_threads:
            raise RuntimeError(f"XLA made {made} threads, not {num_threads}")
        _pool = num_threads
    return jax


def pool_threads() -> set[str]:
    """Return the ids of this process's threads that are XLA's, where the system tells them."""
    found = set()
    for task in Path("/proc/self/task").glob("*"):
        try:
            if "XLAEigen" in (task / "comm").read_text():
                found.add(task.name)
        except OSError:  # it has ended
            pass
    return found


class Jax(System):
    name = "JAX"
    packages = ("jax",)
    extra = "peers-all"
    held_to_isa = False  # --xla_cpu_max_isa leaves the products of XLA's libraries as they are: 110% of AVX2's peak
    modes = ("inference", "training", "stream")

    def prepare(self, problem, num_threads):
        self.jax, self.problem, case = import_jax(num_threads), problem, problem.case
        jnp = self.jax.numpy
        suffixes = [
            f"_l{layer}{end}" for layer in range(case.num_layers) for end in ("", "_reverse")[: case.directions]
        ]
        self.weights = {}
        for suffix in suffixes:  # transposed, and one bias, as people write it
            W, U, b, b2 = (problem.weights[name + suffix] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            self.weights[suffix] = tuple(map(jnp.asarray, (W.T.copy(), U.T.copy(), b + b2)))
        self.x, self.dy = jnp.asarray(problem.x), jnp.asarray(problem.dy)
        self.inside = None
        if problem.lengths is not None:
            self.inside = jnp.asarray((np.arange(case.time)[:, None] < problem.lengths)[..., None])
        if problem.mode == "stream":
            self.steps = [jnp.asarray(x_t) for x_t in problem.x]
            zeros = jnp.zeros((case.batch, case.hidden_size), case.dtype)
            self.start = tuple((zeros, zeros) for _ in suffixes)
            self.compiled = self.jax.jit(self.step)
        else:
            self.compiled = self.jax.jit(self.forward if problem.mode == "inference" else self.gradients)

    def cell(self, gates, c):
        """The elementwise part of a step."""
        jax = self.jax
        i, f, g, o = self.jax.numpy.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
        return jax.nn.sigmoid(o) * jax.numpy.tanh(c), c

    def direction(self, weights, x, inside, reverse):
        """One direction of one layer; the input projection of all steps is one product."""
        jnp = self.jax.numpy
        W, U, b = weights
        T, B, features = x.shape
        projected = (x.reshape(T * B, features) @ W + b).reshape(T, B, -1)
        zeros = jnp.zeros((B, len(U)), x.dtype)

        def step(state, now):
            projected, inside = now if self.inside is not None else (now, None)
            h, c = self.cell(projected + state[0] @ U, state[1])
            if inside is None:
                return (h, c), h
            return (jnp.where(inside, h, state[0]), jnp.where(inside, c, state[1])), jnp.where(inside, h, 0)

        xs = projected if inside is None else (projected, inside)
        (h, c), y = self.jax.lax.scan(step, (zeros, zeros), xs, reverse=reverse)
        return y, h, c

    def forward(self, weights, x, inside):
        jnp, case = self.jax.numpy, self.problem.case
        states = []
        for layer in range(case.num_layers):
            ends = ("", "_reverse")[: case.directions]
            parts = [self.direction(weights[f"_l{layer}{end}"], x, inside, bool(end)) for end in ends]
            states += [part[1:] for part in parts]
            x = jnp.concatenate([part[0] for part in parts], axis=-1)
        return x, jnp.stack([h for h, _ in states]), jnp.stack([c for _, c in states])

    def gradients(self, weights, x, dy, inside):
        y, back = self.jax.vjp(lambda weights, x: self.forward(weights, x, inside)[0], weights, x)
        return y, *back(dy)

    def step(self, weights, states, x):
        after = []
        for (W, U, b), (h, c) in zip(weights.values(), states, strict=True):
            after.append(self.cell(x @ W + b + h @ U, c))
            x = after[-1][0]
        return tuple(after)

    def inference(self):
        return self.jax.block_until_ready(self.compiled(self.weights, self.x, self.inside))

    def training(self):
        return self.jax.block_until_ready(self.compiled(self.weights, self.x, self.dy, self.inside))

    def stream(self):
        states, out = self.start, []
        for x in self.steps:
            states = self.compiled(self.weights, states, x)
            out.append(np.asarray(states[-1][0]))
        return out

    def arrays(self, results):
        if self.problem.mode == "stream":
            return {"y": np.stack(results)}
        if self.problem.mode == "inference":
            return dict(zip(("y", "h_n", "c_n"), map(np.asarray, results), strict=True))
        y, weights, dx = results
        named = {"y": np.asarray(y), "dx": np.asarray(dx)}
        for suffix, (W, U, b) in weights.items():
            named |= {"weight_ih" + suffix: np.asarray(W).T, "weight_hh" + suffix: np.asarray(U).T}
            named |= {name + suffix: np.asarray(b) for name in ("bias_ih", "bias_hh")}
        return named

    def settings(self):
        return {"pool": _pool}


class Keras(System):
    """Keras 3 on JAX, in a compiled function: on PyTorch its LSTM is a loop of Python's over the steps.

    Without a stream: Keras has no call for one step but that of a layer of one step, with all its checks.
    """

    name = "Keras"
    packages = ("keras", "jax")
    extra = "peers-all"
    held_to_isa = False
    modes = ("inference", "training")
    dtypes = ("float32",)  # of float64 its tanh makes float32

    def prepare(self, problem, num_threads):
        self.jax, self.problem, case = import_jax(num_threads), problem, problem.case
        import keras

        if keras.backend.backend() != "jax":
            raise RuntimeError(f"Keras runs on {keras.backend.backend()}, not on JAX: set KERAS_BACKEND=jax")
        jnp = self.jax.numpy
        keras.utils.clear_session()
        inputs = keras.Input((case.time, case.input_size), case.batch, dtype=case.dtype)
        mask = None
        self.mask = []
        if problem.lengths is not None:
            mask = keras.Input((case.time,), case.batch, dtype="bool")
            self.mask = [jnp.asarray(np.arange(case.time) < problem.lengths[:, None])]
        y, states, self.layers = inputs, [], []
        for _ in range(case.num_layers):
            layer = keras.layers.LSTM(
                case.hidden_size, return_sequences=True, return_state=True, zero_output_for_mask=True, dtype=case.dtype
            )
            layer = keras.layers.Bidirectional(layer, dtype=case.dtype) if case.bidirectional else layer
            y, *new = layer(y, mask=mask)
            states += new
            self.layers.append(layer)
        self.model = keras.Model([inputs, *([] if mask is None else [mask])], [y, *states])
        for layer, one in enumerate(self.layers):
            cells = (one.forward_layer, one.backward_layer) if case.bidirectional else (one,)
            for cell, end in zip(cells, ("", "_reverse"), strict=False):
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                W, U, b, b2 = (problem.weights[f"{name}_l{layer}{end}"] for name in names)
                cell.set_weights([W.T, U.T, b + b2])
        self.trainable = [variable.value for variable in self.model.trainable_variables]
        self.others = [variable.value for variable in self.model.non_trainable_variables]
        self.x = jnp.asarray(problem.x.transpose(1, 0, 2))  # batch first, as Keras has it
        self.dy = jnp.asarray(problem.dy.transpose(1, 0, 2))
        self.compiled = self.jax.jit(self.forward if problem.mode == "inference" else self.gradients)

    def forward(self, trainable, x, mask):
        return self.model.stateless_call(trainable, self.others, [x, *mask])[0]

    def gradients(self, trainable, x, dy, mask):
        y, back = self.jax.vjp(lambda trainable, x: self.forward(trainable, x, mask)[0], trainable, x)
        return y, *back(dy)

    def inference(self):
        return self.jax.block_until_ready(self.compiled(self.trainable, self.x, self.mask))

    def training(self):
        return self.jax.block_until_ready(self.compiled(self.trainable, self.x, self.dy, self.mask))

    def arrays(self, results):
        if self.problem.mode == "inference":
            y, *states = map(np.asarray, results)
            return {"y": y.transpose(1, 0, 2), "h_n": np.stack(states[::2]), "c_n": np.stack(states[1::2])}
        y, weights, dx = results
        named = {"y": np.asarray(y).transpose(1, 0, 2), "dx": np.asarray(dx).transpose(1, 0, 2)}
        ends = ("", "_reverse")[: self.problem.case.directions]
        suffixes = [f"_l{layer}{end}" for layer in range(self.problem.case.num_layers) for end in ends]
        for i, suffix in enumerate(suffixes):
            W, U, b = map(np.asarray, weights[3 * i : 3 * i + 3])
            named |= {"weight_ih" + suffix: W.T, "weight_hh" + suffix: U.T}
            named |= {name + suffix: b for name in ("bias_ih", "bias_hh")}
        return named

    def settings(self):
        return {"pool": _pool, "backend": "jax"}
