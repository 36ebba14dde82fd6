from clstm._stream cimport Stream
