"""The addresses of the page and their answers. All work on a file is done in threads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from vidcli.errors import VidcliError
from vidcli.names import visible_json
from vidcli.review.clips import parse_verdict
from vidcli.review.desk import Desk
from vidcli.review.entrance import TOKEN_NAME, Entrance, welcome
from vidcli.review.journal import StaleVersion
from vidcli.review.run_answers import RunsSeen
from vidcli.serve.gate import Gate, Hosts
from vidcli.serve.metrics import Metrics

_STATIC = Path(__file__).parent / "static"
_MAX_BODY = 2**20
_PART_BYTES = 2**20
_OPEN_RANGE = re.compile(rb"bytes=(\d{1,18})-")
_FILES = {
    "shared.js": "text/javascript",
    "review.js": "text/javascript",
    "runs.js": "text/javascript",
    "review.css": "text/css",
    "icon.svg": "image/svg+xml",
}


def build_page(desk: Desk, token: str, port: int, runs: RunsSeen | None = None, first: str = "/") -> ASGIApp:
    """Return the application, which only those with the token may ask.

    Args:
        desk: answers.
        token: of the printed address.
        port: of the server.
        runs: what the second page shows; None where no run was evaluated on these clips.
        first: the page that the printed address leads to.
    """
    room = _Room(desk, port, runs, first)
    app = Starlette(
        routes=[
            Route("/", room.index),
            Route("/runs", room.runs_page),
            *(Route(f"/{name}", room.static) for name in _FILES),
            Route("/api/clips", room.clips),
            Route("/api/runs", room.runs),
            Route("/api/news", room.news),
            Route("/api/clips/{id:int}", room.clip),
            Route("/api/clips/{id:int}", room.say, methods=["POST"]),
            Route("/api/train", room.train, methods=["POST"]),
            Route("/media/{id:int}", room.media),
            Route("/picture/{id:int}", room.picture),
        ],
        exception_handlers={HTTPException: _refuse, VidcliError: _explain},  # type: ignore[dict-item]
    )
    return Entrance(Gate(app, token, Hosts("127.0.0.1"), Metrics()), port)


class _Room:
    """Answers the requests of one desk."""

    def __init__(self, desk: Desk, port: int, runs: RunsSeen | None, first: str) -> None:
        self._desk, self._port, self._runs, self._first = desk, port, runs, first

    async def index(self, request: Request) -> Response:
        """Return the page, or keep the token of the printed address in a cookie first."""
        if TOKEN_NAME in request.query_params:
            return welcome(request.query_params[TOKEN_NAME], self._port, self._first)
        return FileResponse(_STATIC / "review.html", media_type="text/html")

    async def runs_page(self, request: Request) -> Response:
        """Return the page that compares runs."""
        return FileResponse(_STATIC / "runs.html", media_type="text/html")

    async def runs(self, request: Request) -> Response:
        """Return what runs answered."""
        if self._runs is None:
            raise HTTPException(404, "no run was evaluated on these clips; see `vidcli eval`")
        return _as_json(await run_in_threadpool(self._runs.to_dict, self._desk.clips))

    async def static(self, request: Request) -> Response:
        """Return the script, the style sheet or the icon."""
        name = request.url.path.removeprefix("/")
        return FileResponse(_STATIC / name, media_type=_FILES[name], headers={"cache-control": "no-cache"})

    async def clips(self, request: Request) -> Response:
        """Return all clips."""
        told = await run_in_threadpool(self._desk.clip_list)
        return _as_json({**told, "has_runs": self._runs is not None})

    async def news(self, request: Request) -> Response:
        """Return what changed since a revision and a ranking."""
        try:
            seen = [int(request.query_params.get(name, 0)) for name in ("revision", "ranking")]
        except ValueError as error:
            raise HTTPException(400, "revision and ranking are whole numbers") from error
        told = await run_in_threadpool(self._desk.news, *seen)
        known = () if self._runs is None else self._runs.class_names
        return _as_json({**told, "classes": sorted({*told["classes"], *known})})

    async def clip(self, request: Request) -> Response:
        """Return what the player shows: whether the clip can be played, and what it may be."""
        position = self._position(request)
        item = self._desk.clips.items[position]
        playable = await run_in_threadpool(self._desk.shelf.find, item.path)
        return _as_json(
            {
                "ready": playable.path is not None,
                "share": playable.share_done,
                "fps": playable.fps,
                "duration": playable.duration_seconds,
                "copy": playable.is_copy,
                "guesses": self._desk.guesses(position),
            }
        )

    async def say(self, request: Request) -> Response:
        """Note what a person says of a clip."""
        position, desk = self._position(request), self._desk
        value = await _body(request)
        version = value.get("version")
        if not isinstance(version, int):
            raise HTTPException(400, "expected the version of the clip, a whole number")
        try:
            verdict = parse_verdict(value)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        try:
            await run_in_threadpool(desk.journal.say, position, version, verdict)
        except StaleVersion:
            return _as_json({"error": "said meanwhile in another window", "clip": desk.clip(position)}, 409)
        desk.wake()
        return _as_json({"clip": desk.clip(position)})

    async def train(self, request: Request) -> Response:
        """Start or stop a training."""
        value = await _body(request)
        if value.get("stop") is True:
            await run_in_threadpool(self._desk.training.stop)
        elif not await run_in_threadpool(self._desk.training.start):
            raise HTTPException(409, "a training goes on already")
        return _as_json({"training": self._desk.training.to_dict()})

    async def media(self, request: Request) -> Response:
        """Return the file that the browser plays, or a part of it."""
        item = self._desk.clips.items[self._position(request)]
        playable = await run_in_threadpool(self._desk.shelf.find, item.path)
        if playable.path is None:
            raise HTTPException(503, "a copy that browsers can play is being made", {"Retry-After": "1"})
        _shorten_range(request)
        return FileResponse(playable.path, media_type=playable.kind, headers={"cache-control": "no-cache"})

    async def picture(self, request: Request) -> Response:
        """Return a small picture of a clip."""
        item = self._desk.clips.items[self._position(request)]
        content = await run_in_threadpool(self._desk.shelf.picture, item)
        return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    def _position(self, request: Request) -> int:
        position: int = request.path_params["id"]
        if position >= len(self._desk.clips.items):
            raise HTTPException(404, "there is no such clip")
        return position


def _shorten_range(request: Request) -> None:
    """Give the browser a part at a time where it asks for all the rest of a file.

    It would hold its connection while it plays, and has only six: a page of many videos would stop.
    """
    headers = request.scope["headers"]
    for at, (name, value) in enumerate(headers):
        if name == b"range" and (match := _OPEN_RANGE.fullmatch(value)):
            headers[at] = (name, b"bytes=%d-%d" % (int(match[1]), int(match[1]) + _PART_BYTES - 1))


async def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request holds.

    Raises:
        HTTPException: 400, 413 or 415; it holds none.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "expected application/json")
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _MAX_BODY:
            raise HTTPException(413, "the request is too large")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "expected a JSON object") from error
    if not isinstance(value, dict):
        raise HTTPException(400, "expected a JSON object")
    return value


def _as_json(value: dict[str, Any], status: int = 200) -> Response:
    text = visible_json(json.dumps(value, ensure_ascii=False))
    return Response(text.encode(), status, {"cache-control": "no-store"}, media_type="application/json")


async def _refuse(request: Request, error: HTTPException) -> Response:
    answer = _as_json({"error": error.detail}, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _explain(request: Request, error: VidcliError) -> Response:
    return _as_json({"error": str(error)}, 500)
