"""Model files: what is saved is loaded, and all else is one clear error."""

from __future__ import annotations

import json
import os
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clstm
from clstm.files import ModelFileError, load_model, model_from_bytes, model_to_bytes, save_model
from tests.helpers.processes import run_python

CONFIG = {
    "hidden_size": 3,
    "labels": ["negative", "positive", "é\ud800"],
    "dropout": 0.1,
    "seed": None,
    "deep": {"a": [True]},
}
ARRAYS = {
    "lstm.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "fc.bias": np.array([np.nan, -np.inf, -0.0]),
    "ids": np.array([-1, 2**62]),
    "scalar": np.array(1.5),
    "empty": np.zeros((0, 3), np.float32),
}
DATA = model_to_bytes("Model", CONFIG, ARRAYS)
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX calls")


def check_same(model, config=CONFIG, arrays=ARRAYS):
    assert model.kind == "Model"
    assert model.config == config
    assert model.version == clstm.__version__
    assert set(model.arrays) == set(arrays)
    for name, array in arrays.items():
        loaded = model.arrays[name]
        assert loaded.dtype == array.dtype
        assert loaded.shape == array.shape
        assert loaded.tobytes() == array.tobytes()


def split(data):
    """Return a file's header, parsed, and its data."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def build(header, data=b"", length=None):
    """Return a file of any header: bytes, or what JSON can express."""
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def changed(**changes):
    """Return a file whose metadata differ from a good one's; None leaves an entry out."""
    header, data = split(DATA)
    content = json.loads(header["__metadata__"]["clstm"])
    content.update(changes)
    content = {key: value for key, value in content.items() if value is not None}
    header["__metadata__"]["clstm"] = json.dumps(content)
    return build(header, data)


def with_metadata(text):
    return build({"__metadata__": {"clstm": text}})


def signed(config, arrays=()):
    """Return a file without arrays that has the right checksum for any configuration: hostile, not corrupt."""
    content = {"format_version": 1, "clstm_version": "0.1.0", "kind": "Model", "config": config}
    checksum = zlib.crc32(json.dumps(content).encode())
    return build({"__metadata__": {"clstm": json.dumps({**content, "crc32": checksum})}, **dict(arrays)})


def check_refused(data, message):
    with pytest.raises(ModelFileError, match=message) as caught:
        model_from_bytes(data)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------- round trips


def test_bytes_round_trip():
    check_same(model_from_bytes(DATA))
    check_same(model_from_bytes(bytearray(DATA), "Model"))


@pytest.mark.smoke
def test_file_round_trip(tmp_path):
    path = tmp_path / "model"
    for _ in range(2):
        save_model(path, "Model", CONFIG, ARRAYS)
        check_same(load_model(path))
        check_same(load_model(str(path), kind="Model"))
    assert os.listdir(tmp_path) == ["model"]
    assert path.read_bytes() == DATA


def test_the_same_model_gives_the_same_bytes():
    assert model_to_bytes("Model", CONFIG, dict(reversed(ARRAYS.items()))) == DATA


def test_loaded_arrays_are_writable_copies():
    first, second = model_from_bytes(DATA), model_from_bytes(DATA)
    first.arrays["lstm.weight"][:] = 9
    check_same(second)


def test_arrays_of_any_layout():
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    layouts = {
        "transposed": array.T,
        "strided": array[:, ::2, ::-1],
        "fortran": np.asfortranarray(array),
        "big": array.astype(">f4"),
        "read_only": np.broadcast_to(array[0, 0], (5, 4)),
    }
    loaded = model_from_bytes(model_to_bytes("Model", {}, layouts)).arrays
    for name, value in layouts.items():
        assert loaded[name].dtype == np.float32
        np.testing.assert_array_equal(loaded[name], value)


def test_no_arrays_and_no_configuration():
    check_same(model_from_bytes(model_to_bytes("Model", {}, {})), {}, {})


def test_a_layers_weights():
    lstm = clstm.LSTM(3, 5, seed=0)
    other = clstm.LSTM(3, 5, seed=1)
    other.load_state_dict(model_from_bytes(model_to_bytes("LSTM", {}, lstm.parameters())).arrays)
    for name, array in lstm.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)


def test_other_programs_read_the_arrays():
    from safetensors.numpy import load

    loaded = load(DATA)
    assert set(loaded) == set(ARRAYS)
    np.testing.assert_array_equal(loaded["lstm.weight"], ARRAYS["lstm.weight"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_any_json_configuration(config):
    loaded = model_from_bytes(model_to_bytes("Model", config, {})).config
    assert loaded == config
    assert list(loaded) == list(config)


# ------------------------------------------------------------------------------------------------- what is saved


@pytest.mark.parametrize(
    ("kind", "config", "arrays", "error", "message"),
    [
        (3, {}, {}, TypeError, "kind is int, expected a string"),
        ("Model", [], {}, TypeError, "config is list, expected a mapping"),
        ("Model", {"a": np.int64(3)}, {}, TypeError, "config can't be written as JSON: .*int64"),
        ("Model", {"a": {1}}, {}, TypeError, "config can't be written as JSON: .*set"),
        ("Model", {"a": float("nan")}, {}, ValueError, "config can't be written as JSON"),
        ("Model", {"a": [float("inf")]}, {}, ValueError, "config can't be written as JSON"),
        ("Model", {"a": (1, 2)}, {}, ValueError, "JSON would change"),
        ("Model", {"a": {1: 2}}, {}, ValueError, "JSON would change"),
        ("Model", {}, [], TypeError, "arrays is list, expected a mapping"),
        ("Model", {}, {"a": np.zeros(2, np.float16)}, TypeError, r"arrays\['a'\] has dtype float16, expected"),
        ("Model", {}, {"a": "text"}, TypeError, r"arrays\['a'\] has dtype"),
        ("Model", {}, {"a": np.array([None])}, TypeError, r"arrays\['a'\] has dtype object"),
        ("Model", {}, {"a": np.ma.zeros(2)}, TypeError, "masked array"),
        ("Model", {}, {1: np.zeros(2)}, TypeError, "has the key 1, expected strings"),
        ("Model", {}, {"__metadata__": np.zeros(2)}, ValueError, "can't name an array"),
        ("Model", {}, {"\ud800": np.zeros(2)}, ValueError, "can't name an array"),
    ],
)
def test_errors_of_saving(tmp_path, kind, config, arrays, error, message):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    with pytest.raises(error, match=message):
        save_model(path, kind, config, arrays)
    assert path.read_bytes() == b"old"


def test_a_configuration_that_contains_itself():
    config = {}
    config["self"] = config
    with pytest.raises(ValueError, match="config can't be written as JSON"):
        model_to_bytes("Model", config, {})
    deep = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(ValueError, match="config can't be written as JSON"):
        model_to_bytes("Model", {"deep": deep}, {})
    while deep:  # a long chain of lists would overflow the stack when freed at once on some versions
        deep = deep.pop()


def test_errors_of_writing_name_the_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        save_model(tmp_path / "missing" / "model", "Model", CONFIG, ARRAYS)
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        save_model(tmp_path, "Model", CONFIG, ARRAYS)


# ------------------------------------------------------------------------------------------------- what is loaded


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        load_model(tmp_path / "nothing-here")
    with pytest.raises((IsADirectoryError, PermissionError)):
        load_model(tmp_path)


@POSIX
def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ModelFileError, match="isn't a regular file"):
            load_model(path)


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "reviews.model"
    path.write_bytes(DATA[:-1])
    with pytest.raises(ModelFileError, match=r"reviews\.model' can't be loaded: "):
        load_model(path)


def test_another_kind():
    with pytest.raises(ModelFileError, match="it holds a 'Model', not a 'TextClassifier'"):
        model_from_bytes(DATA, "TextClassifier")
    with pytest.raises(TypeError, match="kind is int"):
        model_from_bytes(DATA, 3)


@pytest.mark.parametrize("data", [None, "text", 3])
def test_other_types_than_bytes(data):
    with pytest.raises(TypeError, match="expected bytes"):
        model_from_bytes(data)


def test_a_newer_version():
    data = changed(format_version=2, clstm_version="7.1.0", crc32=None, kind=None, config=None)
    check_refused(data, r"written by clstm '7\.1\.0' in format 2, newer than format 1.*upgrade clstm")
    check_refused(changed(format_version=10**17), "newer than format 1")
    check_refused(changed(format_version=10**300), "in format a huge number")


def test_safetensors_of_another_program():
    from safetensors.numpy import save

    for metadata in (None, {"format": "pt"}):
        check_refused(save({"a": np.zeros(2)}, metadata), "it is a safetensors file, but not a model of clstm")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"truncated or no model file \(0 bytes\)"),
        (b"\x80\x04\x95", "truncated or no model file"),  # a pickle
        (b"PK\x03\x04" + bytes(100), "truncated or no model file"),
        (bytes(1000), "truncated or no model file"),
        (b"\xff" * 1000, "truncated or no model file"),
        (build(b"{}", length=2**63), "truncated or no model file"),
        (build(b"{}", length=2**64 - 1), "truncated or no model file"),
        (build(b"not JSON"), "its header isn't JSON"),
        (build(b"\xff\xfe{}"), "its header isn't JSON"),
        (build(b"[]"), "its header isn't a JSON object"),
        (build(b"{}"), "not a model of clstm"),
        (build({"__metadata__": []}), "not a model of clstm"),
        (build({"__metadata__": {"clstm": 3}}), "not a model of clstm"),
        (build({"__metadata__": {"clstm": {"format_version": 1}}}), "not a model of clstm"),
        (build(b'{"a":' + b"[" * 300_000), "its header isn't JSON"),
        (with_metadata(""), "its metadata isn't JSON"),
        (with_metadata("{'format_version': 1}"), "its metadata isn't JSON"),
        (with_metadata("__import__('os')"), "its metadata isn't JSON"),
        (with_metadata("[" * 300_000), "its metadata isn't JSON"),
        (with_metadata('{"a":' * 300_000), "its metadata isn't JSON"),
        (with_metadata('{"format_version": NaN}'), "its metadata isn't JSON"),
        (with_metadata("[]"), "its metadata isn't a JSON object"),
        (with_metadata("{}"), "format version is None"),
        (changed(format_version=True), "format version is True"),
        (changed(format_version="1"), "format version is '1'"),
        (changed(format_version=1.0), "format version is 1.0"),
        (changed(format_version=0), "format version is 0"),
        (changed(format_version=-(10**30)), "format version is a huge number"),
        (changed(kind=None), "its metadata has kind = None, expected str"),
        (changed(kind=["a" * 10_000]), "its metadata has kind = list"),
        (changed(config=[]), "its metadata has config = list, expected dict"),
        (changed(clstm_version={}), "its metadata has clstm_version = dict"),
        (changed(crc32=True), "its metadata has crc32 = True, expected int"),
        (changed(crc32=1.5), "its metadata has crc32 = 1.5, expected int"),
        (changed(crc32=0), "doesn't match its checksum"),
        (changed(kind="Other"), "doesn't match its checksum"),
        (changed(config={**CONFIG, "dropout": 0.2}), "doesn't match its checksum"),
        (changed(more="entries"), "doesn't match its checksum"),
        (DATA + b"\0", "can't be loaded"),
        (DATA[:-1], "can't be loaded"),
    ],
)
def test_corrupt_and_hostile_files(data, message):
    check_refused(data, message)


def test_a_configuration_that_is_not_json_is_refused_even_with_the_right_checksum():
    check_same(model_from_bytes(signed({"a": 1.5})), {"a": 1.5}, {})
    data = signed({"a": "1e999"}).replace(b'\\"1e999\\"', b"    1e999")
    check_refused(data, "its metadata isn't valid")


def test_nesting_of_any_depth_is_refused():
    for depth in (10, 500, *range(900, 1100), 10_000):
        config = '{"a": ' + "[" * depth + "]" * depth + "}"
        check_refused(
            with_metadata(f'{{"format_version": 1, "clstm_version": "", "kind": "", "config": {config}, "crc32": 0}}'),
            "can't be loaded",
        )


@pytest.mark.parametrize(
    ("entry", "data"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, bytes(4)),  # shape and size differ
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, bytes(4)),  # beyond the end
        ({"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}, bytes(8)),
        ({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}, bytes(12)),  # a hole
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}, bytes(8)),
        ({"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}, b""),  # the product overflows
        ({"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}, bytes(8)),
        ({"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}, bytes(8)),
        ({"dtype": "F32", "data_offsets": [0, 8]}, bytes(8)),
        ({"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}, bytes(8)),
        ({"dtype": "O", "shape": [1], "data_offsets": [0, 8]}, bytes(8)),
        ("text", b""),
    ],
)
def test_hostile_arrays(entry, data):
    check_refused(signed({}, {"a": entry}) + data, "can't be loaded")


@pytest.mark.parametrize("shape", [[0, 2**62], [0, 2**63, 2**63], [1] * 100])
def test_shapes_that_numpy_does_not_have(shape):
    data = bytes(0 if shape[0] == 0 else 4)
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}
    check_refused(signed({}, {"a": entry}) + data, "array 'a' has an impossible shape")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3"])
def test_dtypes_that_no_model_has(dtype):
    size = 8 if dtype == "BF16" else 4
    entry = {"dtype": dtype, "shape": [4], "data_offsets": [0, size]}
    check_refused(signed({}, {"a": entry}) + bytes(size), f"array 'a' is {dtype}, expected F32, F64, I64")


def test_overlapping_arrays():
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    check_refused(signed({}, {"a": entry, "b": entry}) + bytes(8), "can't be loaded")


def test_truncation_at_every_byte():
    for end in range(len(DATA)):
        with pytest.raises(ModelFileError):
            model_from_bytes(DATA[:end])


def check_same_or_refused(data):
    """A changed file is refused, or says the same as before (white space, another notation of a letter)."""
    try:
        model = model_from_bytes(data)
    except ModelFileError:
        return False
    check_same(model)
    return True


def test_a_flip_of_any_bit():
    loaded = 0
    for position in range(len(DATA)):
        for bit in range(8):
            data = bytearray(DATA)
            data[position] ^= 1 << bit
            loaded += check_same_or_refused(bytes(data))
    assert loaded < 50


@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_several_changed_bytes(changes):
    data = bytearray(DATA)
    for position, value in changes:
        data[position] = value
    check_same_or_refused(bytes(data))


@given(st.binary(max_size=200))
def test_any_bytes(data):
    with pytest.raises(ModelFileError):
        model_from_bytes(data)


@given(json_values, st.binary(max_size=20))
def test_any_json(header, data):
    with pytest.raises(ModelFileError):
        model_from_bytes(build(header, data))


@POSIX
def test_a_large_file_of_another_program_is_refused_by_its_header(tmp_path):
    path = tmp_path / "large"
    size = 2**40  # a hole: takes no room on the disk, but no memory would hold it
    header = {"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    with open(path, "wb") as file:
        file.write(build(header))
        try:
            file.truncate(size)
        except OSError:
            pytest.skip("the file system has no holes")
    with pytest.raises(ModelFileError, match="not a model of clstm"):
        load_model(path)


# ------------------------------------------------------------------------------------------------- other processes


@pytest.mark.subprocess
def test_saving_and_loading_import_nothing_heavy(tmp_path):
    code = """
import sys
from clstm.files import load_model, save_model
assert "safetensors" not in sys.modules
save_model(sys.argv[1], "Model", {}, {})
load_model(sys.argv[1])
print([name for name in ("torch", "scipy", "tensorflow", "jax", "pickle5", "tempfile") if name in sys.modules])
"""
    done = run_python(code, tmp_path / "model")
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


KILLED = """
import os, random, signal, sys, time
import numpy as np
from clstm.files import load_model, save_model

path = sys.argv[1]
models = [("A", {"n": 1}, {"a": np.full((300_000,), 1, np.float32)}), ("B", {"n": 2}, {"b": np.full((500_000,), 2.0)})]
save_model(path, *models[0])
load_model(path)
random.seed(0)
stamp = lambda: (os.stat(path).st_ino, os.stat(path).st_mtime_ns)
for _ in range(25):
    before = stamp()
    child = os.fork()
    if child == 0:
        while True:
            for model in models:
                save_model(path, *model)
    while stamp() == before:  # until the child has saved once, however busy the machine
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    model = load_model(path)
    kind, config, arrays = models["AB".index(model.kind)]
    assert model.config == config
    assert all((model.arrays[name] == array).all() for name, array in arrays.items())
print("all loaded")
"""


@pytest.mark.subprocess
@POSIX
def test_the_file_can_be_loaded_after_a_kill_at_any_moment(tmp_path):
    assert run_python(KILLED, tmp_path / "model").stdout.strip() == "all loaded"
