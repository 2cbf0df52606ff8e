"""`python -m vidcli` and the `vidcli` command."""

from __future__ import annotations

import sys

from vidcli.allocator import keep_freed_memory
from vidcli.cli import run


def main() -> None:
    """Run the command line and end the process with its exit code."""
    keep_freed_memory()  # the process is ours; one that imports the package decides by itself
    sys.exit(run())


if __name__ == "__main__":
    main()
