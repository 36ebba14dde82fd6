"""The portable path: BLAS and plain loops, where no vector kernel runs."""
