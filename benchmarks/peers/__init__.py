"""clstm's LSTM against other libraries: the same weights and data, in one process, in turn.

    python -m benchmarks.peers                                          # the four shapes, 1 and 2 threads
    python -m benchmarks.peers --grid wide --threads 1 --json wide.json --picture wide.png
    python -m benchmarks.peers --shapes 100,1,64,64 100,16,64,64 --mode training

docs/benchmarks.md tells how it measures, and what came out. `problems` has the shapes and their data, `systems` the
libraries (another peer is another small class there), `timing` and `measure` the method.
"""
