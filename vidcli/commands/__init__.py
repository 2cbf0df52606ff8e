"""What each command does: hand arguments to the modules, and results to the console.

A module a command, imported only when it runs, since most bring torch with them.
"""
