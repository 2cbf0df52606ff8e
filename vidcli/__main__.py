"""`python -m vidcli` and the `vidcli` command."""

from vidcli.allocator import keep_freed_memory
from vidcli.cli import app


def main() -> None:
    """Run the command line."""
    keep_freed_memory()  # the process is ours; one that imports the package decides by itself
    app(prog_name="vidcli")


if __name__ == "__main__":
    main()
