"""The command line `llmos`: a client of the kernel; its entry is ``actors.cli.main``."""
