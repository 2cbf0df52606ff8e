"""`vidcli serve`: answers over HTTP."""

from __future__ import annotations

import re
import secrets
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vidcli.commands.app import USE, app, examples, open_terminal
from vidcli.commands.options import WHOLE_PICTURES, DeviceOption, ModelOption, ThresholdOption
from vidcli.errors import ConfigError

if TYPE_CHECKING:
    from vidcli.console import Terminal

_TOKEN = re.compile(r"[\x21-\x7e]{16,}")


HostOption = Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")]
TokenOption = Annotated[
    str | None,
    typer.Option(
        envvar="VIDCLI_TOKEN",
        show_envvar=True,
        help="What clients must send; without it, a random one, which is printed.",
    ),
]
AllowOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="Folder whose files may be asked about by path; may be repeated."),
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Name by which clients may call this server; may be repeated."),
]
MaxUploadOption = Annotated[
    float, typer.Option("--max-upload-mib", min=0.01, max=2**20, help="Largest upload, in MiB.")
]
MaxWaitingOption = Annotated[int, typer.Option(min=1, help="Requests at a time; more are told to try again.")]
TimeoutOption = Annotated[
    float, typer.Option(min=0.1, max=86400, help="Seconds until a request is given up.")
]


class ServeOptions(NamedTuple):
    """What the command line of `vidcli serve` says.

    Attributes:
        model: run directory, model file or exported model; None is the usual one.
        host, port: where to listen.
        token: what clients must send; None makes a random one.
        allow: folders whose files may be asked about.
        allow_host: names by which clients may call the server.
        max_upload_bytes: the largest upload.
        max_waiting: the most requests at a time.
        timeout: seconds until a request is given up.
        threshold: the probability, 0 to 1, below which an answer is unknown; None always answers.
        device: as --device says.
    """

    model: Path | None
    host: str
    port: int
    token: str | None
    allow: Sequence[Path]
    allow_host: Sequence[str]
    max_upload_bytes: int
    max_waiting: int
    timeout: float
    threshold: float | None
    device: str


@app.command(
    rich_help_panel=USE,
    epilog=examples("vidcli serve", "vidcli serve --model runs/mine --port 8080 --allow clips/"),
)
def serve(
    ctx: typer.Context,
    model: ModelOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    token: TokenOption = None,
    allow: AllowOption = None,
    allow_host: AllowHostOption = None,
    max_upload_mib: MaxUploadOption = 512,
    max_waiting: MaxWaitingOption = 32,
    timeout: TimeoutOption = 300,
    threshold: ThresholdOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Answer over HTTP what videos show: POST /predict and /timeline.

    Only this machine can ask, unless --host says otherwise.

    Ctrl-C or SIGTERM ends it, after requests that have begun.
    """
    from vidcli.serve import require_extra

    require_extra()
    if token is not None and not _TOKEN.fullmatch(token):
        raise ConfigError(
            "--token: expected 16 visible ASCII characters or more; leave it out for a random one"
        )
    for folder in allow or []:
        if not folder.is_dir():
            raise ConfigError(f"--allow {folder}: is no folder; expected one whose videos may be asked about")
    _serve(
        open_terminal(ctx),
        ServeOptions(
            model=model,
            host=host,
            port=port,
            token=token,
            allow=allow or [],
            allow_host=allow_host or [],
            max_upload_bytes=round(max_upload_mib * 2**20),
            max_waiting=max_waiting,
            timeout=timeout,
            threshold=threshold,
            device=device,
        ),
    )


def _serve(terminal: Terminal, options: ServeOptions) -> None:
    """Load the model and answer until a signal asks to end."""
    from vidcli.artifacts.run_folder import describe_unfinished, find_model
    from vidcli.commands.videos import clip_seconds_of
    from vidcli.console import Verbosity
    from vidcli.predict import Predictor
    from vidcli.predict.side_by_side import share_cores
    from vidcli.runtime.devices import choose_device
    from vidcli.serve.api import Desk, build_app
    from vidcli.serve.gate import Gate, Hosts
    from vidcli.serve.inbox import Inbox
    from vidcli.serve.listening import address_of, build_server, is_loopback, listen
    from vidcli.serve.metrics import Metrics
    from vidcli.serve.model_threads import ModelThreads

    model_file = find_model(options.model)
    predictor = Predictor.load(model_file, choose_device(options.device))
    predictor.abstain_below(options.threshold)
    if (unfinished := describe_unfinished(model_file, predictor.config)) is not None:
        terminal.warn(unfinished)
    if predictor.config.subject.boxes is not None:
        terminal.warn(WHOLE_PICTURES)
    try:
        clip_seconds = clip_seconds_of(predictor, model_file)
    except ConfigError:  # only timelines need it, and a request may say it
        clip_seconds = None
    token = options.token or secrets.token_urlsafe(32)
    loaders, ahead = predictor.views.bounds(options.max_waiting)
    metrics, shares = Metrics(), share_cores(predictor, options.max_waiting)
    thread = ModelThreads(options.max_waiting, loaders, ahead, shares)
    with (
        listen(options.host, options.port) as listener,
        tempfile.TemporaryDirectory(prefix="vidcli-serve-") as folder,
        closing(thread),
    ):
        inbox = Inbox(Path(folder), options.max_upload_bytes, options.allow, metrics)
        desk = Desk(predictor, clip_seconds, inbox, thread, metrics, options.timeout)
        app = Gate(build_app(desk), token, Hosts(options.host, options.allow_host), metrics)
        if options.token is None or options.port == 0:  # nothing else tells them, so --quiet does not count
            terminal = replace(terminal, verbosity=max(terminal.verbosity, Verbosity.NORMAL))
        terminal.say(f"{model_file}: answers at {address_of(listener)}; Ctrl-C ends")
        if options.token is None:
            terminal.say(f"token: {token}")
        if not is_loopback(options.host):
            terminal.warn(
                "other machines can ask, and what they send is not encrypted; on a strange network "
                "put a server with TLS before this one"
            )
        build_server(app, options.timeout).run([listener])  # ends by raising the signal that asked for it
