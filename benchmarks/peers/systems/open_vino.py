"""OpenVINO on the CPU."""

from __future__ import annotations

import numpy as np

from .base import System, fastest
from .onnx_model import onnx_arrays, onnx_model


class OpenVino(System):
    name = "OpenVINO"
    packages = ("openvino", "onnx")
    modes = ("inference", "stream")
    dtypes = ("float32",)

    def prepare(self, problem, num_threads):
        import openvino

        self.ov, self.problem, case = openvino, problem, problem.case
        model = openvino.Core().read_model(onnx_model(problem).SerializeToString(), b"")
        # Its threads may be bound to a processor each or not. The faster setting for the problem is used.
        choices = (True, False) if num_threads > 1 else (False,)
        compiled = {pinning: self.compile(model, num_threads, pinning) for pinning in choices}
        self.x = np.empty((1, case.batch, case.input_size), np.float32) if problem.mode == "stream" else problem.x
        self.lengths = [] if problem.lengths is None else [problem.lengths.astype(np.int32)]
        states = [np.zeros((case.batch, 1, case.hidden_size), np.float32) for _ in range(4 * case.num_layers)]
        self.states = states[::2], states[1::2]

        def use(pinning):
            if problem.mode == "stream":  # each step reads one set of states and writes the other
                pairs = (self.states, self.states[::-1])
                self.requests = [self.new_request(compiled[pinning], before, after) for before, after in pairs]
            else:
                self.requests = [self.new_request(compiled[pinning], self.lengths, [])]

        self.pinning = fastest(choices, use, self.run)

    def compile(self, model, num_threads, pinning):
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": num_threads,
            "INFERENCE_PRECISION_HINT": "f32",  # or it would compute in bfloat16 where the processor can
            "ENABLE_CPU_PINNING": pinning,
        }
        compiled = self.ov.Core().compile_model(model, "CPU", options)
        self.expect_threads(compiled.get_property("INFERENCE_NUM_THREADS"), num_threads)
        precision = compiled.get_property("INFERENCE_PRECISION_HINT")
        if precision != self.ov.Type.f32:
            raise RuntimeError(f"OpenVINO computes in {precision}, not in f32")
        return compiled

    def new_request(self, compiled, inputs, states):
        """Return a request that reads x and other inputs, and writes states if given, where they lie."""
        request = compiled.create_infer_request()
        for i, array in enumerate([self.x, *inputs]):
            array = array.reshape(compiled.inputs[i].shape)  # a view
            request.set_input_tensor(i, self.ov.Tensor(array, shared_memory=True))
        for i, array in enumerate(states, start=1):
            array = array.reshape(compiled.outputs[i].shape)
            request.set_output_tensor(i, self.ov.Tensor(array, shared_memory=True))
        return request

    def inference(self):
        (request,) = self.requests
        request.infer()
        return [request.get_output_tensor(i).data for i in range(1 + 2 * self.problem.case.num_layers)]

    def stream(self):
        for state in self.states[0]:
            state[...] = 0
        case = self.problem.case
        out = np.empty((case.time, case.batch, case.hidden_size), np.float32)
        results = [request.get_output_tensor(0).data for request in self.requests]
        for t, x_t in enumerate(self.problem.x):
            self.x[0] = x_t
            self.requests[t % 2].infer()
            out[t] = results[t % 2][0, 0]
        return out

    def arrays(self, results):
        return {"y": results} if self.problem.mode == "stream" else onnx_arrays(results)

    def settings(self):
        return {"pinning": self.pinning}
