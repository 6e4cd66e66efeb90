"""Routes for probes and scrapers: `GET /`, `/health`, `/ready` and `/metrics`."""

from typing import cast

from fastapi import APIRouter
from pydantic import BaseModel
from qwen3_client import __version__
from starlette.requests import Request
from starlette.responses import Response

from ..json import json_response
from ..middleware.metrics import CONTENT_TYPE, Metrics
from ..readiness import Readiness

OPERATION_PATHS = ("/", "/health", "/ready", "/metrics", "/docs", "/openapi.json")


class Health(BaseModel):
    """Whether the process runs."""

    status: str


class Ready(BaseModel):
    """Whether requests would be answered."""

    ready: bool


class Root(BaseModel):
    """What answers here."""

    name: str
    version: str
    documentation: str


router = APIRouter(tags=["Operation"])


@router.get("/", summary="Say what answers here", responses={200: {"model": Root}})
async def root(request: Request) -> Response:
    """Answer as long as the process works: load balancers and clients ask here whether there is a server."""
    documentation = f"{request.app.state.settings.root_path}/docs"
    return json_response({"name": "qwen3-triton gateway", "version": __version__, "documentation": documentation})


@router.get("/health", summary="Liveness: whether the process runs", responses={200: {"model": Health}})
async def health() -> Response:
    """Answer as long as the process works; Triton is not asked."""
    return json_response({"status": "ok"})


@router.get("/ready", summary="Readiness: whether requests would be answered", responses={503: {"model": Ready}})
async def ready(request: Request) -> Response:
    """Answer 200 while Triton answers requests correctly, and 503 while it does not."""
    is_ready = await cast(Readiness, request.app.state.readiness).is_ready()
    return json_response({"ready": is_ready}, status=200 if is_ready else 503)


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return the counts and times of all workers."""
    return Response(cast(Metrics, request.app.state.metrics).text(), media_type=CONTENT_TYPE)
