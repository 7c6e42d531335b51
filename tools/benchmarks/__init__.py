"""The benchmarks behind tools/bench.py, a room for each thing that is measured. Loopback only; every run ends by itself."""
