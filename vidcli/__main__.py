"""`python -m vidcli` and the `vidcli` command."""

from vidcli.cli import app


def main() -> None:
    """Run the command line."""
    app(prog_name="vidcli")


if __name__ == "__main__":
    main()
