"""The C side of streams, for other Cython code. See docs/streaming.md."""

from clstm._stream cimport Stream
