"""Files of torch.save and of safetensors, read without PyTorch: what they hold, and that nothing in them is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import warnings
import zipfile
from collections import OrderedDict
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clstm
from clstm.files import ModelFileError
from clstm.files.torch_files import read_state_dict
from tests.helpers.processes import run_python

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.peer

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


def tensors():
    torch.manual_seed(0)
    found = {dtype: (torch.randn(3, 4) * 50).to(getattr(torch, dtype)) for dtype in DTYPES}
    whole = torch.arange(24.0).reshape(4, 6)
    found |= {
        "transposed": whole.T, "part": whole[1:3, ::2], "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 3),
        "one": whole[2:3, 1:2], "parameter": torch.nn.Parameter(torch.ones(2, 2)), "tied": whole,
    }  # fmt: skip
    return found


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        tensor = tensor.detach()
        np.testing.assert_array_equal(
            found[name], (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        )
        if tensor.dtype != torch.bfloat16:
            assert found[name].dtype == tensor.numpy().dtype


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_of_every_kind(tmp_path, protocol):
    expected = tensors()
    torch.save(expected, tmp_path / "weights.pt", pickle_protocol=protocol)
    found = clstm.read_state_dict(tmp_path / "weights.pt")
    assert_same(found, expected)
    assert np.shares_memory(found["transposed"], found["tied"])
    found["tied"][0, 0] = 7.0
    assert found["transposed"][0, 0] == 7.0


def test_complex_tensors(tmp_path):
    torch.save({"a": torch.tensor([1 + 2j])}, tmp_path / "a.pt")
    assert read_state_dict(tmp_path / "a.pt")["a"] == 1 + 2j


def model():
    torch.manual_seed(0)
    return torch.nn.ModuleDict({
        "embedding": torch.nn.Embedding(20, 5), "lstm": torch.nn.LSTM(5, 7, 2, bidirectional=True, batch_first=True),
        "norm": torch.nn.BatchNorm1d(14), "head": torch.nn.Linear(14, 3),
    })  # fmt: skip


def test_a_models_state_dict(tmp_path):
    expected = model().state_dict()
    torch.save(expected, tmp_path / "model.pt")
    found = read_state_dict(tmp_path / "model.pt")
    assert_same(found, expected)
    assert found["norm.num_batches_tracked"].shape == ()


def test_a_state_dict_in_a_checkpoint(tmp_path):
    network = model()
    optimizer = torch.optim.Adam(network.parameters())
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    checkpoint = {"epoch": 3, "loss": 0.5, "best": None, "done": False, "name": "a", "history": [1, 2.5],
                  "model": network.state_dict(), "optimizer": optimizer.state_dict()}  # fmt: skip
    path = tmp_path / "checkpoint.pt"
    torch.save(checkpoint, path)
    assert_same(read_state_dict(path, key="model"), network.state_dict())
    with pytest.raises(
        ModelFileError, match="its entry 'epoch' isn't a tensor with a name; give key, one of 'model', 'o"
    ):
        read_state_dict(path)
    with pytest.raises(ModelFileError, match="key is 'weights', expected one of 'epoch', "):
        read_state_dict(path, key="weights")
    with pytest.raises(ModelFileError, match="its entry 'epoch' is a int"):
        read_state_dict(path, key="epoch")
    with pytest.raises(ModelFileError, match="its entry 'state' isn't a tensor"):
        read_state_dict(path, key="optimizer")
    with pytest.raises(TypeError, match="key is int"):
        read_state_dict(path, key=3)


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    expected = {name: tensor.detach().clone().contiguous() for name, tensor in sorted(tensors().items())}
    save_file(expected, tmp_path / "model.safetensors")
    found = read_state_dict(tmp_path / "model.safetensors")
    assert_same(dict(sorted(found.items())), expected)
    with pytest.raises(ModelFileError, match=r"key is 'model', but it isn't an archive of torch\.save"):
        read_state_dict(tmp_path / "model.safetensors", key="model")


def test_a_big_endian_file(tmp_path):
    torch.save({"a": torch.arange(5.0), "b": torch.tensor([1.5], dtype=torch.bfloat16)}, tmp_path / "little.pt")
    with zipfile.ZipFile(tmp_path / "little.pt") as little, zipfile.ZipFile(tmp_path / "big.pt", "w") as big:
        for name in little.namelist():
            data = little.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            elif "/data/" in name:
                data = np.frombuffer(data, "<f4" if len(data) == 20 else "<u2").byteswap().tobytes()
            big.writestr(name, data)
    found = read_state_dict(tmp_path / "big.pt")
    np.testing.assert_array_equal(found["a"], np.arange(5))
    assert found["b"] == 1.5


# ----------------------------------------------------------------------------------------- a process without PyTorch

CHILD = """
import json, sys
import numpy as np, clstm
x = np.load("x.npy")
answers = {}
for name in ("model.pt", "model.safetensors"):
    weights = clstm.read_state_dict(name)
    embedding = clstm.Embedding.from_torch(weights, prefix="embedding")
    head = clstm.Linear.from_torch(weights, prefix="head")
    lstm = clstm.LSTM.from_torch(weights, prefix="lstm", batch_first=True)
    y, (h_n, c_n) = lstm(embedding(x), lengths=np.load("lengths.npy"))
    answers[name] = head(np.concatenate([h_n[-2], h_n[-1]], axis=1)).tolist()
print(json.dumps({"answers": answers, "loaded": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


@pytest.mark.subprocess
def test_a_model_of_pytorch_runs_in_a_process_without_it(tmp_path):
    from safetensors.torch import save_file

    network = model().eval()
    ids, lengths = torch.randint(20, (4, 9)), torch.tensor([9, 3, 1, 6])
    packed = torch.nn.utils.rnn.pack_padded_sequence(network["embedding"](ids), lengths, True, enforce_sorted=False)
    _, (h_n, _) = network["lstm"](packed)
    expected = network["head"](torch.cat([h_n[-2], h_n[-1]], dim=1)).detach().numpy()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    np.save(tmp_path / "x.npy", ids.numpy())
    np.save(tmp_path / "lengths.npy", lengths.numpy())
    report = json.loads(run_python(CHILD, folder=tmp_path).stdout)
    assert "torch" not in report["loaded"]
    for answer in report["answers"].values():
        np.testing.assert_allclose(answer, expected, atol=1e-6)


# ------------------------------------------------------------------------------------------ files that aren't to be run


class Runs:
    """What an unpickler would call."""

    called: ClassVar[list[str]] = []

    def __reduce__(self):
        return Runs.called.append, ("called",)


def archive(path, data, **records):
    with zipfile.ZipFile(path, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.writestr("archive/data.pkl", data)
        for name, content in records.items():
            file.writestr(f"archive/{name.replace('__', '/')}", content)
    return path


def pickled(value):
    return pickle.dumps(value, protocol=2)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize(
    "value",
    [os.system, Runs(), {"a": Runs()}, eval, print, torch.nn.LSTM(2, 3), torch.device("cpu"), {"a": np.zeros(2)},
     {"a": {1, 2}}, {"a": b"bytes"}, torch.float32, OrderedDict([("a", 1)]), [("a", 1)], {"a": 1}, 3],
    ids=lambda value: repr(value).partition(" at 0x")[0],  # the same names in every process
)  # fmt: skip
def test_other_content_is_refused_and_not_run(tmp_path, value, protocol):
    if protocol == 0 and isinstance(value, torch.nn.Module):
        return
    Runs.called.clear()
    data = pickle.dumps(value, protocol=protocol)
    with pytest.raises(ModelFileError, match=r"evil.pt' can't be read: its? "):
        read_state_dict(archive(tmp_path / "evil.pt", data))
    assert not Runs.called


def test_a_whole_module_is_named(tmp_path):
    torch.save(torch.nn.LSTM(2, 3), tmp_path / "module.pt")
    with pytest.raises(ModelFileError, match=r"it holds a 'torch.nn.modules.rnn.LSTM', .*model.state_dict\(\)"):
        read_state_dict(tmp_path / "module.pt")


def test_other_formats_are_named(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelFileError, match=r"a bare pickle, .*PyTorch 1.6"):
        read_state_dict(tmp_path / "old.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), tmp_path / "script.pt")
    with pytest.raises(ModelFileError, match="TorchScript"):
        read_state_dict(tmp_path / "script.pt")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    with pytest.raises(ModelFileError, match=r"not one that torch\.save wrote"):
        read_state_dict(tmp_path / "arrays.npz")
    (tmp_path / "text.pt").write_text("no model")
    with pytest.raises(ModelFileError, match=r"text\.pt' can't be read"):
        read_state_dict(tmp_path / "text.pt")
    with pytest.raises(FileNotFoundError):
        read_state_dict(tmp_path / "none.pt")
    with pytest.raises(IsADirectoryError):
        read_state_dict(tmp_path)


def tensor_pickle(storage=("storage", "FloatStorage", "0", "cpu", 4), offset=0, shape=(2, 2), strides=(2, 1), extra=()):
    """A state_dict of one tensor, as torch.save writes it, with anything in its place."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                kind, name, *rest = storage
                return (kind, getattr(torch, name) if hasattr(torch, str(name)) else name, *rest)
            return None

    class Storage:
        pass

    class Tensor:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, shape, strides, False, OrderedDict(), *extra)

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"a": Tensor()})
    return buffer.getvalue()


FOUR = np.arange(4, dtype="<f4").tobytes()


def test_the_pickle_of_the_tests_is_one(tmp_path):
    found = read_state_dict(archive(tmp_path / "a.pt", tensor_pickle(), data__0=FOUR))
    np.testing.assert_array_equal(found["a"], [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("changes", "records", "match"),
    [
        ({"shape": (2, 3)}, {}, "larger than its storage"),
        ({"offset": 1}, {}, "larger than its storage"),
        ({"offset": -1}, {}, "in a way that torch.save never does"),
        ({"strides": (2, -1)}, {}, "in a way that"),
        ({"strides": (2**62, 1), "shape": (1, 2)}, {}, "in a way that"),
        ({"strides": (0, 0), "shape": (2**40, 2)}, {}, "larger than its storage"),
        ({"strides": (1,)}, {}, "in a way that"),
        ({"shape": "ab", "strides": "ab"}, {}, "in a way that"),
        ({"shape": (2.0, 2)}, {}, "in a way that"),
        ({"extra": ({"conj": True},)}, {}, "in a way that"),
        ({"storage": ("storage", "FloatStorage", "0", "cpu", 5)}, {}, "isn't what its tensors need"),
        ({"storage": ("storage", "FloatStorage", "1", "cpu", 4)}, {}, "'data/1' is missing"),
        ({"storage": ("other", "FloatStorage", "0", "cpu", 4)}, {}, "in a way that"),
        ({"storage": ("storage", "FloatStorage", "0", "cpu", "4")}, {}, "in a way that"),
        ({"storage": ("storage", "FloatStorage", 0, "cpu", 4)}, {}, "in a way that"),
        ({"storage": ("storage", "QInt8Storage", "0", "cpu", 4)}, {}, "it holds a 'torch.QInt8Storage'"),
        ({"storage": ("storage", "FloatStorage", "../../0", "cpu", 4)}, {}, "is missing"),
        ({}, {"data__0": FOUR[:-1]}, "15 bytes"),
        ({}, {"data__0": FOUR[:-4]}, "isn't what its tensors need"),
        ({}, {"byteorder": b"middle"}, "its byte order is"),
        ({}, {"constants.pkl": b""}, "TorchScript"),
    ],
    ids=str,
)  # fmt: skip
def test_impossible_tensors(tmp_path, changes, records, match):
    path = archive(tmp_path / "a.pt", tensor_pickle(**changes), **{"data__0": FOUR, **records})
    with pytest.raises(ModelFileError, match=match):
        read_state_dict(path)


def test_storages_of_two_dtypes(tmp_path):
    first, second = tensor_pickle(), tensor_pickle(("storage", "IntStorage", "0", "cpu", 4))
    both = pickletools.optimize(first)[:-2] + b"X\x01\x00\x00\x00b" + pickletools.optimize(second)[6:-2] + b"u."
    with pytest.raises(ModelFileError):
        read_state_dict(archive(tmp_path / "a.pt", both, data__0=FOUR))


def test_records_are_not_read_beyond_the_files_size(tmp_path):
    """A record compressed, and many that lie over each other: both would become far more than the file."""
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(10**7))
    with pytest.raises(ModelFileError, match="is compressed"):
        read_state_dict(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", tensor_pickle(("storage", "ByteStorage", "0", "cpu", 4)))
        file.writestr("archive/data/0", bytes(1000))
        file.filelist[-1].file_size = file.filelist[-1].compress_size = 10**9
    with pytest.raises(ModelFileError):
        read_state_dict(path)


def test_deep_nesting_is_an_error(tmp_path):
    depth = 10**5
    for data in (
        b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".",
        b"\x80\x02)" + b"\x85" * depth + b".",
        b"\x80\x02})" + b"\x85" * depth + b"K\x01s.",  # a tuple as a key would be hashed
    ):
        with pytest.raises(ModelFileError):
            read_state_dict(archive(tmp_path / "deep.pt", data))


@pytest.mark.parametrize("position", range(0, 60, 7))
def test_a_damaged_storage_is_found(tmp_path, position):
    torch.save({"a": torch.arange(15.0)}, tmp_path / "a.pt")
    data = bytearray((tmp_path / "a.pt").read_bytes())
    start = data.index(np.arange(15, dtype="<f4").tobytes())
    data[start + position] ^= 4
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"corrupt.*CRC"):
        read_state_dict(tmp_path / "a.pt")


@pytest.fixture(scope="module")
def saved():
    buffer = io.BytesIO()
    torch.save({**model().state_dict(), "b": torch.ones(2, 3).T}, buffer)
    return buffer.getvalue()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_damage_gives_an_error_or_arrays(saved, tmp_path_factory, data):
    damaged = bytearray(saved)
    kind = data.draw(st.sampled_from(["flip", "cut", "pickle"]))
    if kind == "cut":
        damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    elif kind == "flip":
        for _ in range(data.draw(st.integers(1, 5))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.pt"
    if kind == "pickle":  # with a checksum that fits
        with zipfile.ZipFile(io.BytesIO(saved)) as file:
            records = {name: bytearray(file.read(name)) for name in file.namelist()}
        (name,) = (name for name in records if name.endswith("data.pkl"))
        for _ in range(data.draw(st.integers(1, 5))):
            records[name][data.draw(st.integers(0, len(records[name]) - 1))] = data.draw(st.integers(0, 255))
        with zipfile.ZipFile(path, "w") as file:
            for name, content in records.items():
                file.writestr(name, bytes(content))
    else:
        path.write_bytes(damaged)
    try:
        found = read_state_dict(path)
    except ModelFileError:
        return
    assert all(isinstance(name, str) and isinstance(array, np.ndarray) for name, array in found.items())
    for array in found.values():
        array.copy()
