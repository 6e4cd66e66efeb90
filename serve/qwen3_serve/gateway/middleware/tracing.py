"""OpenTelemetry traces: one span per request, if the environment asks for them.

It asks with OpenTelemetry's own variables, such as `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_TRACES_EXPORTER`. Without
them nothing of OpenTelemetry's SDK is imported.
"""

import os
from importlib import metadata
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..exchange import exchange_of
from ..routes import Routes
from ..settings import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
_SPAN_EXPORTERS = "opentelemetry_traces_exporter"  # the group of entry points that declares exporters
_SERVER_ERROR = 500


def is_configured() -> bool:
    """Return whether the environment asks for traces."""
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = os.environ.get("OTEL_TRACES_EXPORTER")
    return not is_off and exporter != "none" and any(os.environ.get(name) for name in _VARIABLES)


def tracer_provider() -> "TracerProvider":
    """Create the provider that exports spans.

    Raises:
        SettingsError: The exporter that the environment asks for is not installed.
    """
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"the environment asks for OpenTelemetry traces, but {error.name} is missing: "
            "pip install 'qwen3-triton[otel]', or unset OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_ENDPOINT"
        ) from error
    resource = Resource.create({} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "qwen3-gateway"})
    provider = TracerProvider(resource=resource)
    for name in os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(","):
        provider.add_span_processor(BatchSpanProcessor(_exporter(name.strip())()))
    return provider


def _exporter(name: str) -> type:
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
            "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
        )
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    for entry_point in metadata.entry_points(group=_SPAN_EXPORTERS, name=name):
        exporter: type = entry_point.load()
        return exporter
    raise SettingsError(
        f"the environment asks for the OpenTelemetry exporter {name!r}, which is not installed: pip install "
        f"opentelemetry-exporter-{name.replace('_', '-')}, or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    )


class Tracing:
    """Middleware that wraps each request in a span, a child of the client's span if it sent `traceparent`.

    Args:
        app: The application within.
        provider: Exports the spans.
        routes: All routes of the gateway.
    """

    def __init__(self, app: ASGIApp, *, provider: "TracerProvider", routes: Routes) -> None:
        self._app = app
        self._routes = routes
        self._tracer = provider.get_tracer("qwen3_serve.gateway")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        exchange = exchange_of(scope)
        route = self._routes.of(scope["path"])
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        context = TraceContextTextMapPropagator().extract(carrier)
        attributes = {"http.request.method": exchange.method, "http.route": route}
        with self._tracer.start_as_current_span(
            f"{exchange.method} {route}",
            context=context,
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,  # the message of an exception may hold a text
            set_status_on_exception=False,
        ) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= _SERVER_ERROR:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            try:
                await self._app(scope, receive, noted)
            finally:
                span.set_attribute("qwen3_serve.gateway.request_id", exchange.request_id)
                span.set_attribute("qwen3_serve.gateway.items", exchange.items)
                span.set_attribute("qwen3_serve.gateway.tokens", exchange.tokens)
