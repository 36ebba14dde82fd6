"""clstm's LSTM against other libraries: the same weights and data, alternating in one process.

    python -m benchmarks.peers                                          # the standard grid, 1 and 2 threads
    python -m benchmarks.peers --json peers.json --markdown peers.md --picture peers.png
    python -m benchmarks.peers --shapes 100,1,64,64 100,16,64,64 --mode training --threads 1
    python -m benchmarks.peers --isa avx2                               # all systems held to AVX2
    python -m benchmarks.peers.roofline                                 # the machine's limits alone
    python -m benchmarks.peers.memory                                   # peak memory of training

docs/benchmarks.md tells how it measures, and what came out. `problems` has a case's data, `grids` the cases,
`systems` the libraries (another peer is another small class there), `timing` and `measure` the method, `roofline` the
machine's limits.
"""
