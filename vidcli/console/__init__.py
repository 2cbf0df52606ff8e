"""All that a person sees in a terminal. The only part that knows rich.

A module a command; `terminal` (streams), `text` and `tables` serve them all. What is imported here
is light, so that an error message needs no torch.
"""

from __future__ import annotations

from vidcli.console.terminal import Terminal, Verbosity, print_error, print_json

__all__ = ["Terminal", "Verbosity", "print_error", "print_json"]
