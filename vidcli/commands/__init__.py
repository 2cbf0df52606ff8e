"""The command line, a module a command: its signature, its help, and what it does.

Nothing heavy is imported before a command runs, so that `vidcli --help` answers at once: other rooms are
imported inside functions, except by modules that only these functions import (`outcome`, `peers`,
`videos`). The order of the imports below is the order of the commands in the help.
"""

from __future__ import annotations

# isort: off
from vidcli.commands.app import app, run
from vidcli.commands import demo, import_labels, review, check, pack
from vidcli.commands import train, crossval, tune
from vidcli.commands import predict, merge, timeline, live, serve, export_labels, export
from vidcli.commands import eval, explain, embed, report, models, settings, cache, bench
# isort: on

__all__ = [
    "app",
    "bench",
    "cache",
    "check",
    "crossval",
    "demo",
    "embed",
    "eval",
    "explain",
    "export",
    "export_labels",
    "import_labels",
    "live",
    "merge",
    "models",
    "pack",
    "predict",
    "report",
    "review",
    "run",
    "serve",
    "settings",
    "timeline",
    "train",
    "tune",
]
