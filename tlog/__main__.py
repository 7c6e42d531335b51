"""`python -m tlog` is the same as `tlog`."""

from tlog.cli.app import main

main()
