"""Streams, for Python and for other Cython code: ``from clstm.stream cimport Stream`` (docs/streaming.md)."""

from clstm.layers.stream import Stream as Stream

__all__ = ["Stream"]
