"""Files of models and weights: written atomically, and read without running anything in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.files.atomic import write_atomically as write_atomically
    from clstm.files.model_file import FORMAT_VERSION as FORMAT_VERSION
    from clstm.files.model_file import ModelFile as ModelFile
    from clstm.files.model_file import ModelFileError as ModelFileError
    from clstm.files.model_file import load_model as load_model
    from clstm.files.model_file import model_from_bytes as model_from_bytes
    from clstm.files.model_file import model_to_bytes as model_to_bytes
    from clstm.files.model_file import read_safetensors as read_safetensors
    from clstm.files.model_file import save_model as save_model
    from clstm.files.torch_files import read_state_dict as read_state_dict

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "atomic": ("write_atomically",),
        "model_file": (
            "FORMAT_VERSION",
            "ModelFile",
            "ModelFileError",
            "load_model",
            "model_from_bytes",
            "model_to_bytes",
            "read_safetensors",
            "save_model",
        ),
        "torch_files": ("read_state_dict",),
    },
)
