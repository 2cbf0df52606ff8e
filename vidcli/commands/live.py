"""`vidcli live`: what a camera, or a video piped in, shows now."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vidcli.commands.app import USE, app, examples, open_terminal
from vidcli.commands.options import (
    WHOLE_PICTURES,
    DeviceOption,
    ModelOption,
    ThresholdOption,
    WindowOption,
)
from vidcli.errors import ConfigError

if TYPE_CHECKING:
    from vidcli.console import Terminal
    from vidcli.console.live_view import LiveAnswer
    from vidcli.predict import Predictor
    from vidcli.predict.live import LiveSession
    from vidcli.video import LiveFrame, LiveFrames

_SILENCE_SECONDS = 5.0
_WAIT_SECONDS = 0.5


class LiveFormat(str, Enum):
    """How answers are shown."""

    table = "table"
    json = "json"


CameraArgument = Annotated[
    str,
    typer.Argument(
        metavar="[CAMERA]",
        help="A camera's number, device or name, or - for a video piped in (MPEG-TS, Matroska, Y4M).",
    ),
]
RawOption = Annotated[
    str | None,
    typer.Option(
        metavar="WxH@FPS[:PIXELS]",
        help="The pipe holds bare pictures of this size, such as 640x480@30:yuv420p; else rgb24.",
    ),
]
KeepStateOption = Annotated[
    bool, typer.Option("--keep-state", help="Answer of all seen so far, with a one-way recurrent head.")
]
FormatOption = Annotated[
    LiveFormat | None,
    typer.Option("--format", help="How to show; without it, a table on a terminal, else json."),
]


class LiveOptions(NamedTuple):
    """What the command line of `vidcli live` says.

    Attributes:
        camera: number, device or name of a camera; `-` for a video on standard input.
        raw: of a pipe without a container, the size, rate and kind of its pictures.
        window_seconds: time of a window; None takes that of the clips the model was trained on.
        keeps_state: let a one-way model go on from all that it has seen.
        model: run directory, model file or exported model; None is the usual one.
        device: as --device says.
        form: table or json; None is a table on a terminal, else json.
        top_k: classes shown an answer.
        threshold: the probability, 0 to 1, below which an answer is unknown; None always answers.
    """

    camera: str
    raw: str | None
    window_seconds: float | None
    keeps_state: bool
    model: Path | None
    device: str
    form: str | None
    top_k: int
    threshold: float | None


@app.command(
    rich_help_panel=USE,
    epilog=examples(
        "vidcli live", "vidcli live /dev/video2 --format json", "ffmpeg ... -f mpegts - | vidcli live -"
    ),
)
def live(
    ctx: typer.Context,
    camera: CameraArgument = "0",
    raw: RawOption = None,
    model: ModelOption = None,
    window: WindowOption = None,
    keep_state: KeepStateOption = False,
    top_k: Annotated[int, typer.Option(min=1, help="Classes shown an answer.")] = 5,
    threshold: ThresholdOption = None,
    form: FormatOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Tell what a camera, or a video piped in, shows now; Ctrl-C ends."""
    options = LiveOptions(
        camera=camera,
        raw=raw,
        window_seconds=window,
        keeps_state=keep_state,
        model=model,
        device=device,
        form=form.value if form else None,
        top_k=top_k,
        threshold=threshold,
    )
    raise typer.Exit(run_live(open_terminal(ctx), options))


def run_live(terminal: Terminal, options: LiveOptions) -> int:
    """Answer until the video ends; return the exit code.

    Raises:
        VideoError: the camera or pipe cannot be read.
        KeyboardInterrupt: whoever watches has seen enough.
    """
    from vidcli.artifacts.run_folder import find_model
    from vidcli.commands.videos import clip_seconds_of
    from vidcli.console.live_view import open_live_view
    from vidcli.data.frames import decode_limits
    from vidcli.predict import Predictor
    from vidcli.predict.inputs import STDIN
    from vidcli.predict.live import can_keep_state, open_session
    from vidcli.predict.predictor import with_views
    from vidcli.runtime.devices import choose_device
    from vidcli.video import LiveFrames, parse_raw

    raw = parse_raw(options.raw) if options.raw is not None else None
    if raw is not None and options.camera != STDIN:
        raise ConfigError("--raw: describes pictures that are piped in; use it with `vidcli live -`")
    form = options.form or ("table" if sys.stdout.isatty() else "json")
    if form not in ("table", "json"):
        raise ConfigError(f"--format {form}: `vidcli live` shows a table or prints json")
    model_file = find_model(options.model)
    predictor = with_views(Predictor.load(model_file, choose_device(options.device)), 1, 1)
    if predictor.config.subject.boxes is not None:
        terminal.warn(WHOLE_PICTURES)
    predictor.abstain_below(options.threshold)
    if options.keeps_state and not can_keep_state(predictor):
        raise ConfigError(
            "--keep-state: this model has no state that goes on from picture to picture, which takes a head "
            "rnn, lstm or gru, model.bidirectional=false and model.shift=off; leave it out"
        )
    window = options.window_seconds or clip_seconds_of(predictor, model_file)
    spacing = window / predictor.config.clip.length
    session = open_session(predictor, options.keeps_state, spacing)
    spacing /= session.steps
    limits = decode_limits(predictor.config.data)
    source = LiveFrames(
        options.camera, spacing, predictor.views.transform.decode_size, session.capacity, raw, limits
    )
    terminal.say(
        f"{source.name}: a picture every {spacing:.3g} s, "
        + ("answers of all seen so far" if options.keeps_state else f"answers of the last {window:.3g} s")
        + "; Ctrl-C ends"
    )
    _warm_up(predictor)
    num_answers = 0
    try:
        with source, open_live_view(terminal, form, options.top_k, predictor) as view:
            for answer in _answers(terminal, predictor, session, source):
                num_answers += 1
                view.show(answer)
    finally:
        if num_answers:
            _say_end(terminal, source, num_answers)
    return 0


def _say_end(terminal: Terminal, source: LiveFrames, num_answers: int) -> None:
    """Say how many answers there were, and what of the video was not looked at."""
    from vidcli.console.text import count_noun

    text = f"{source.name}: {count_noun(num_answers, 'answer')}"
    if source.num_dropped:
        text += f", {count_noun(source.num_dropped, 'picture')} dropped since the model was busy"
    if source.num_damaged:
        text += f", {count_noun(source.num_damaged, 'packet')} damaged"
    terminal.say(text)


def _answers(
    terminal: Terminal, predictor: Predictor, session: LiveSession, source: LiveFrames
) -> Iterator[LiveAnswer]:
    """Yield an answer a picture, from the first full clip on; at the end at least one."""
    last: LiveFrame | None = None
    has_answered = False
    heard = time.monotonic()
    while (frames := source.take(_WAIT_SECONDS)) is not None:
        if not frames:
            if time.monotonic() - heard > _SILENCE_SECONDS:
                terminal.warn(f"{source.name}: no picture for {_SILENCE_SECONDS:g} s; still waiting")
                heard = float("inf")
            continue
        session.push(frames)
        last, heard = frames[-1], time.monotonic()
        if session.is_full:
            has_answered = True
            yield _answer(predictor, session, source, last)
    if last is not None and not has_answered:
        session.fill()
        yield _answer(predictor, session, source, last)


def _answer(predictor: Predictor, session: LiveSession, source: LiveFrames, frame: LiveFrame) -> LiveAnswer:
    from vidcli.console.live_view import LiveAnswer

    prediction = predictor.answer_of(source.name, session.answer())
    return LiveAnswer(prediction, frame.seconds, time.monotonic() - frame.arrival, source.num_dropped)


def _warm_up(predictor: Predictor) -> None:
    """Compute once before pictures come: the first time takes many times longer."""
    import numpy as np

    clip = predictor.config.clip
    predictor.classify(np.zeros((1, clip.length, 3, *clip.size), np.float32))
