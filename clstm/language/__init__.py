"""Language models: the model, its network, and texts as streams of token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.language.characters import Characters as Characters
    from clstm.language.language_model import LanguageModel as LanguageModel
    from clstm.language.network import LSTMLanguageNetwork as LSTMLanguageNetwork
    from clstm.language.network import TiedLinear as TiedLinear
    from clstm.language.text_batches import TextStreams as TextStreams

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "characters": ("Characters",),
        "language_model": ("LanguageModel",),
        "network": ("LSTMLanguageNetwork", "TiedLinear"),
        "text_batches": ("TextStreams",),
    },
)
