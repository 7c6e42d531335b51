"""What `tools/gates.py` runs: faults put into real servers, real databases and real files, and what has to hold after them."""
