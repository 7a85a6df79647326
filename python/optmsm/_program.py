"""The program ``optmsm``."""

import sys

from ._internal import program


def main() -> int:
    """Runs the program with the arguments of the process; returns its exit code."""
    return program(["optmsm", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
