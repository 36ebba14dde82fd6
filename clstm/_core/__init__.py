"""The compiled side: Cython over the C kernels of src/, the portable path, threads, and the choice between the two."""
