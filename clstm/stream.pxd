"""The C side of streams, for other Cython code. See docs/streaming.md."""

from clstm._core._stream cimport Stream
