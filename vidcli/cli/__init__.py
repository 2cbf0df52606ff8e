"""The command line: signatures and help. What a command does lives in `vidcli.commands`.

Nothing heavy is imported before a command runs, so that `vidcli --help` answers at once. The order
of the imports below is the order of the commands in the help.
"""

from __future__ import annotations

# isort: off
from vidcli.cli.app import app, run
from vidcli.cli import training, evaluation, prediction, explain, report, export, demo, data, listing, bench
# isort: on

__all__ = [
    "app",
    "bench",
    "data",
    "demo",
    "evaluation",
    "explain",
    "export",
    "listing",
    "prediction",
    "report",
    "run",
    "training",
]
