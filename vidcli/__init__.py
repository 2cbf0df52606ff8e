"""Train, evaluate and use a video classifier from the command line.

Importing the package is cheap: no torch, no PyAV. `vidcli.cli` is the way in for people.
"""

__version__ = "0.1.0"
