"""Entry point of `python -m ctcedge`."""

from ctcedge.cli.app import main

main()
