"""The vector path: jobs and threads over the C kernels of src/."""
