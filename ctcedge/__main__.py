"""`python -m ctcedge`."""

from ctcedge.cli import main

main()
