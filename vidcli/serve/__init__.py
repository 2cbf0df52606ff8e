"""Answer over HTTP what `vidcli predict` and `vidcli timeline` answer on the command line.

listening      the address, and the server that answers there
gate           who may ask: token, Host and Origin, checked before anything else is read
api            the addresses and their answers
inbox          the video of a request: an upload, or a file below an allowed folder
model_threads  the threads in which the model computes, those that load for them, and the bounded queue
metrics        what was asked and answered, as text for Prometheus

Without the extra `serve`, only this file, `listening` and `metrics` can be imported.
"""

from __future__ import annotations

from vidcli.errors import ConfigError


def require_extra(command: str = "vidcli serve") -> None:
    """Refuse to go on without the libraries of the extra `serve`.

    Args:
        command: that needs them.

    Raises:
        ConfigError: one of them is not installed.
    """
    try:
        import fastapi  # noqa: F401 (only whether it is there)
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{command} needs {error.name}, which is not installed: pip install 'vidcli[serve]'"
        ) from error
