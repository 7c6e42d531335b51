"""The benchmarks that tools/bench.py runs, a module for each thing that is measured. Loopback only; every run ends by itself."""
