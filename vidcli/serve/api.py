"""The addresses of the server and their answers: the JSON objects of `vidcli predict --format json`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException as AnyHTTPException

import vidcli
from vidcli.arrays import Float32
from vidcli.errors import VidcliError, VideoError
from vidcli.names import visible_json
from vidcli.predict import Predictor
from vidcli.predict.prediction import prediction_to_dict
from vidcli.predict.segments import timeline_to_dict
from vidcli.predict.timeline import TimelineWork
from vidcli.predict.view_loader import item_of
from vidcli.predict.window_plan import choose_plan, learnt_plan, plan_windows
from vidcli.serve.inbox import Inbox, Video
from vidcli.serve.metrics import CONTENT_TYPE, Metrics
from vidcli.serve.model_threads import Loaded, ModelThreads
from vidcli.video import probe

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["video"],
                    "properties": {"video": {"type": "string", "format": "binary"}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["path"],
                    "properties": {"path": {"type": "string", "description": "Below a folder of --allow."}},
                }
            },
        },
    }
}
_FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request is damaged, or asks for what there is not."},
    401: {"description": "The token is missing or wrong."},
    403: {"description": "The path leads out of the allowed folders, or a stranger's page asks."},
    413: {"description": "The upload is too large."},
    415: {"description": "The body is neither a form nor JSON."},
    422: {"description": "The video cannot be classified: an object with `video` and `error`."},
    503: {"description": "The queue is full; `Retry-After` says when to try again."},
    504: {"description": "There was no answer in time."},
}

TopK = Annotated[int, Query(ge=1, description="Classes shown.")]
Window = Annotated[
    float | None, Query(ge=0.01, allow_inf_nan=False, description="Seconds of a window; see vidcli timeline.")
]
Step = Annotated[
    float | None, Query(ge=0.001, allow_inf_nan=False, description="Seconds from window to window.")
]
MinSeconds = Annotated[
    float | None, Query(ge=0, allow_inf_nan=False, description="Seconds of the shortest segment.")
]


@dataclass(frozen=True)
class Desk:
    """What requests are answered with.

    Attributes:
        predictor: the model; loads in threads of `thread`, and computes in those of its model.
        clip_seconds: duration of the clips that it learnt from; None if nothing tells.
        inbox: finds the videos.
        thread: computes the answers.
        metrics: counts them.
        timeout_seconds: the longest time from a request's head to its answer.
    """

    predictor: Predictor
    clip_seconds: float | None
    inbox: Inbox
    thread: ModelThreads
    metrics: Metrics
    timeout_seconds: float

    async def answer(
        self,
        request: Request,
        load: Callable[[Video], Loaded],
        work: Callable[[Video, Loaded, Callable[[], None]], dict[str, Any]],
    ) -> Response:
        """Answer a request about a video: 422 if the video fails.

        Args:
            request: its body holds or names the video.
            load: returns what `work` needs of the video; see `ModelThreads.compute`.
            work: returns the answer; called in a thread of the model.
        """
        try:
            row = await asyncio.wait_for(self._ask(request, load, work), self.timeout_seconds)
        except asyncio.TimeoutError:
            text = f"there is no answer after {self.timeout_seconds:g} s; see --timeout"
            raise HTTPException(504, text) from None
        return _as_json(row, 422 if "error" in row else 200)

    async def _ask(
        self,
        request: Request,
        load: Callable[[Video], Loaded],
        work: Callable[[Video, Loaded, Callable[[], None]], dict[str, Any]],
    ) -> dict[str, Any]:
        with ExitStack() as held:
            self.thread.take_place(held)
            video = await self.inbox.receive(request, held)
            return await self.thread.compute(
                lambda: load(video), lambda loaded, check: work(video, loaded, check), held
            )

    def load(self, video: Video) -> Float32 | VideoError:
        """Return the clips of a video (V, T, C, H, W), or why there are none."""
        return self.predictor.views.try_load(item_of(video.path))

    def predict(self, video: Video, views: Float32 | VideoError, top_k: int) -> dict[str, Any]:
        """Return the object that `vidcli predict` prints for a video.

        Args:
            video: the video.
            views: what `load` returned.
            top_k: classes shown.
        """
        prediction = self.predictor.begin(item_of(video.path), views)()
        return prediction_to_dict(replace(prediction, video=video.name), top_k)

    def timeline(
        self,
        video: Video,
        check: Callable[[], None],
        window: float | None,
        step: float | None,
        min_seconds: float | None,
    ) -> dict[str, Any]:
        """Return the object that `vidcli timeline` prints for a video.

        Args:
            video: the video.
            check: called often; raises an error to end the work.
            window, step, min_seconds: as the options of `vidcli timeline`.
        """
        length, wanted = self.predictor.config.clip.length, window or self.clip_seconds
        assert wanted is not None  # `build_app` asked for it
        try:
            rules = self.predictor.rules
            if window is None and step is None:
                usual = choose_plan(length, wanted, probe(video.path).duration_seconds)
                plan = learnt_plan(self.predictor.config, rules) or usual
            else:
                plan = plan_windows(length, wanted, step)
            shortest = plan.window_seconds if min_seconds is None else min_seconds
            is_chosen = window is not None or step is not None or min_seconds is not None
            work = TimelineWork(self.predictor, video.path, plan, shortest, None if is_chosen else rules)
            work.run(progress=lambda done, total: check())
        except VideoError as error:
            return {"video": video.name, "error": error.reason}
        return timeline_to_dict(replace(work.finish(), video=video.name))


def build_app(desk: Desk) -> FastAPI:
    """Return the application, which anybody may ask: see `gate`."""
    app = FastAPI(
        title="vidcli",
        version=vidcli.__version__,
        description="What videos show. Answers are the objects of `vidcli predict --format json`.",
        openapi_url="/docs",
        docs_url=None,  # pages that load scripts from other hosts
        redoc_url=None,
    )

    @app.post("/predict", openapi_extra=_BODY, responses=_FAILURES)
    async def predict(request: Request, top_k: TopK = 5) -> Response:
        """Tell what a video shows."""
        return await desk.answer(
            request, desk.load, lambda video, views, check: desk.predict(video, views, top_k)
        )

    @app.post("/timeline", openapi_extra=_BODY, responses=_FAILURES)
    async def timeline(
        request: Request, window: Window = None, step: Step = None, min_seconds: MinSeconds = None
    ) -> Response:
        """Tell what a video shows when."""
        if window is None and desk.clip_seconds is None:
            raise HTTPException(400, "nothing tells how long this model's clips are; add ?window=SECONDS")
        return await desk.answer(
            request,
            lambda video: None,  # a timeline loads its windows as it goes
            lambda video, _, check: desk.timeline(video, check, window, step, min_seconds),
        )

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Tell that the server answers; needs no token."""
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Count what was asked and answered, for Prometheus."""
        text = desk.metrics.render(desk.thread.num_waiting, desk.predictor.model_seconds)
        return Response(text, media_type=CONTENT_TYPE)

    @app.exception_handler(AnyHTTPException)
    async def refuse(request: Request, error: AnyHTTPException) -> Response:
        return _as_json({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_parameters(request: Request, error: RequestValidationError) -> Response:
        faults = [f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()]
        return _as_json({"error": "; ".join(faults)}, 400)

    @app.exception_handler(VidcliError)
    async def explain(request: Request, error: VidcliError) -> Response:
        return _as_json({"error": str(error)}, 500)

    return app


def _as_json(value: dict[str, Any], status: int, headers: Mapping[str, str] | None = None) -> Response:
    text = visible_json(json.dumps(value, ensure_ascii=False))
    return Response(text.encode(), status, headers, media_type="application/json")
