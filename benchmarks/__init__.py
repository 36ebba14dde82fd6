"""Benchmarks of clstm for airspeed velocity (asv); CONTRIBUTING.md tells how to run and compare them."""
