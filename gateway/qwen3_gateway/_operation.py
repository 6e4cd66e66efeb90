"""What probes and scrapers ask: `GET /health`, `/ready` and `/metrics`."""

import asyncio
from time import monotonic
from typing import cast

from fastapi import APIRouter
from pydantic import BaseModel
from qwen3_client import Qwen3ClientError
from starlette.requests import Request
from starlette.responses import Response

from ._engine import Engine
from ._json import json_response
from ._metrics import CONTENT_TYPE, Metrics

__all__ = ["OPERATION_PATHS", "Readiness", "router"]

OPERATION_PATHS = ("/health", "/ready", "/metrics", "/docs", "/openapi.json")

_ANSWER_S = 2.0  # a Triton that takes longer to say so is not ready


class Health(BaseModel):
    """That the gateway runs."""

    status: str


class Ready(BaseModel):
    """Whether the gateway can work."""

    ready: bool


class Readiness:
    """Whether Triton would take requests, asked no more often than need be. For one event loop.

    Args:
        engine: the way to Triton.
        believed_s: seconds for which an answer is believed.
    """

    def __init__(self, engine: Engine, *, believed_s: float) -> None:
        self._engine = engine
        self._believed_s = believed_s
        self._is_ready = False
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def is_ready(self) -> bool:
        """Says what is known, after asking if that is too old."""
        async with self._asking:
            if monotonic() - self._asked_at > self._believed_s:
                try:
                    self._is_ready = await asyncio.wait_for(self._engine.is_ready(), _ANSWER_S)
                except (asyncio.TimeoutError, Qwen3ClientError):
                    self._is_ready = False
                self._asked_at = monotonic()
            return self._is_ready


router = APIRouter(tags=["Operation"])


@router.get("/health", summary="Say whether the gateway runs", responses={200: {"model": Health}})
async def health() -> Response:
    """Answers as long as the process works; whether Triton does is not asked."""
    return json_response({"status": "ok"})


@router.get("/ready", summary="Say whether requests would be answered", responses={503: {"model": Ready}})
async def ready(request: Request) -> Response:
    """Follows Triton: 200 while it would take requests, 503 while it would not."""
    is_ready = await cast(Readiness, request.app.state.readiness).is_ready()
    return json_response({"ready": is_ready}, status=200 if is_ready else 503)


@router.get("/metrics", summary="Give Prometheus its numbers", response_class=Response)
async def metrics(request: Request) -> Response:
    """Returns counts and times of all workers."""
    return Response(cast(Metrics, request.app.state.metrics).text(), media_type=CONTENT_TYPE)
