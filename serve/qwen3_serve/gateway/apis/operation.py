"""What probes and scrapers ask: `GET /health`, `/ready` and `/metrics`."""

from typing import cast

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from ..json import json_response
from ..middleware.metrics import CONTENT_TYPE, Metrics
from ..readiness import Readiness

__all__ = ["OPERATION_PATHS", "router"]

OPERATION_PATHS = ("/health", "/ready", "/metrics", "/docs", "/openapi.json")


class Health(BaseModel):
    """That the gateway runs."""

    status: str


class Ready(BaseModel):
    """Whether the gateway can work."""

    ready: bool


router = APIRouter(tags=["Operation"])


@router.get("/health", summary="Say whether the gateway runs", responses={200: {"model": Health}})
async def health() -> Response:
    """Answers as long as the process works; whether Triton does is not asked."""
    return json_response({"status": "ok"})


@router.get("/ready", summary="Say whether requests would be answered", responses={503: {"model": Ready}})
async def ready(request: Request) -> Response:
    """Follows Triton: 200 while it answers requests as it should, 503 while it does not."""
    is_ready = await cast(Readiness, request.app.state.readiness).is_ready()
    return json_response({"ready": is_ready}, status=200 if is_ready else 503)


@router.get("/metrics", summary="Give Prometheus its numbers", response_class=Response)
async def metrics(request: Request) -> Response:
    """Returns counts and times of all workers."""
    return Response(cast(Metrics, request.app.state.metrics).text(), media_type=CONTENT_TYPE)
