"""`python -m tlog` is the same as `tlog`."""

from tlog.cli import main

main()
