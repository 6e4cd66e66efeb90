"""The fields of every route: what the code declares, and what docs/gateway.md says."""

import re
from collections.abc import Iterator
from pathlib import Path

from fastapi import FastAPI
from qwen3_serve.gateway.app import _APIS
from qwen3_serve.gateway.body import RequestBody

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"
BODIES: dict[str, type[RequestBody]] = {
    kind.__name__: kind for api in _APIS for kind in api.schemas if issubclass(kind, RequestBody)
}


def bodies_of(app: FastAPI) -> Iterator[tuple[str, type[RequestBody]]]:
    """Give each route that takes a body, with each body that it takes."""
    for path, methods in app.openapi()["paths"].items():
        for operation in methods.values():
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                for each in schema.get("anyOf", [schema]):
                    yield path, BODIES[each["$ref"].rpartition("/")[2]]


def declared(app: FastAPI) -> dict[tuple[str, frozenset[str]], frozenset[str]]:
    """Give the harmless fields of each route, by the route and the fields that it supports."""
    return {(path, frozenset(kind.model_fields)): kind.harmless for path, kind in bodies_of(app)}


def on_the_page() -> dict[tuple[str, frozenset[str]], frozenset[str]]:
    """Give the same as the table in docs/gateway.md has it."""
    found = {}
    for routes, supported, harmless in _rows("| route | supported | ignored"):
        for route in routes:
            found[route, frozenset(supported)] = frozenset(harmless)
    return found


def refused_on_the_page() -> dict[str, frozenset[str]]:
    """Give the fields that are never ignored, by kind of route, as the page has them."""
    return {kind: frozenset(fields) for (kind,), fields in _rows("| kind of route | never ignored")}


def _rows(header: str) -> Iterator[list[list[str]]]:
    lines = iter(PAGE.read_text("utf-8").splitlines())
    assert any(line.startswith(header) for line in lines), f"no table begins {header}"
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        yield [re.findall(r"`(?:POST )?([^`]+)`", cell) for cell in line.split("|")[1:-1]]
