"""Exit codes of the commands."""

EXIT_CRASH = 1
EXIT_SETUP = 2
EXIT_UNCLASSIFIED = 3
EXIT_INTERRUPTED = 128  # plus the number of the signal, as in a shell
