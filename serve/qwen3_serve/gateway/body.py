"""The body of a request: JSON of a declared form, or an error that names the field that is wrong.

The body is read as JSON whatever its content type is, because Ollama does so and `curl -d` sends another one.
"""

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from .errors import ApiError
from .known_fields import Changing

_MAX_REASONS = 3
_MAX_PATH = 128
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_Body = TypeVar("_Body", bound="RequestBody")
_Other = TypeVar("_Other", bound="RequestBody")


class RequestBody(BaseModel):
    """Base class of all request bodies. Types are strict, without conversions; null is "not given".

    A field that would change the result is never ignored: it is declared, or refused. Other fields are ignored.

    Attributes:
        changing: The fields that would change the result. Those that the body does not declare are refused.
        harmless: Known fields that change nothing, for the documentation.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    changing: ClassVar[Mapping[str, Changing]] = {}
    harmless: ClassVar[frozenset[str]] = frozenset()

    def refuse_ignored(self, path: str = "") -> None:
        """Refuse a field that would change the result and that this body, or an object in it, does not declare.

        Args:
            path: Where this object is in the body, such as `input[3].`.

        Raises:
            ApiError: There is one, and its value is not a neutral one.
        """
        for name, value in (self.model_extra or {}).items():
            known = self.changing.get(name)
            # `1 == True`, so types are compared too.
            if known is None or value is None or any(type(value) is type(n) and value == n for n in known.neutral):
                continue
            raise ApiError(
                "invalid",
                f"{path}{name}: this route does not support it, and without it the result would be another: "
                f"{known.advice}",
                param=re.split(r"[.[]", f"{path}{name}")[0],
            )
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, RequestBody):
                value.refuse_ignored(f"{path}{name}.")
            elif isinstance(value, list) and any(issubclass(kind, RequestBody) for kind in set(map(type, value))):
                for index, item in enumerate(value):
                    if isinstance(item, RequestBody):
                        item.refuse_ignored(f"{path}{name}[{index}].")


async def body_of(request: Request, kind: type[_Body]) -> _Body:
    """Read a request's body.

    Args:
        request: The request; nothing has read its body yet.
        kind: The model that describes the body.

    Raises:
        ApiError: The body is not JSON, does not match the model, or has a field that would have to be ignored.
    """
    content = await _content(request)
    try:
        return _validated(content, kind)
    except ValidationError as error:
        raise _api_error(error, content) from None


async def body_of_either(
    request: Request, kind: type[_Body], other: type[_Other], *, telling: tuple[str, str]
) -> _Body | _Other:
    """Read the body of a route that two APIs share.

    Args:
        request: The request; nothing has read its body yet.
        kind: The body of the first API.
        other: The body of the second.
        telling: For each, a required field that only its body has.

    Raises:
        ApiError: As for `body_of`.
    """
    content = await _content(request)
    try:
        return _validated(content, kind)
    except ValidationError as error:
        if not _is_missing(error, telling[0]):
            raise _api_error(error, content) from None
    try:
        return _validated(content, other)
    except ValidationError as error:
        if _is_missing(error, telling[1]):
            message = f"{telling[0]} or {telling[1]} is required"
            raise ApiError("malformed", message, param=telling[0]) from None
        raise _api_error(error, content) from None


def documented(*kinds: type[RequestBody]) -> dict[str, Any]:
    """Return the OpenAPI entry of a route that takes such a body; `app` adds the schemas that it refers to."""
    schemas = [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in kinds]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def _content(request: Request) -> bytes:
    return (await request.body()).removeprefix(codecs.BOM_UTF8)  # some editors and .NET write one


def _validated(content: bytes, kind: type[_Body]) -> _Body:
    try:
        # One pass from bytes to checked values, in compiled code; it refuses lone surrogates and deep nesting.
        body = kind.model_validate_json(content)
    except RecursionError:
        raise ApiError("malformed", "the body is nested too deeply") from None
    body.refuse_ignored()
    return body


def _is_missing(error: ValidationError, field: str) -> bool:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return any(each["type"] == "missing" and each["loc"] == (field,) for each in found)


def _api_error(error: ValidationError, content: bytes) -> ApiError:
    """Describe what is wrong with a body, without repeating its content."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first = found[0]
    if first["type"] == "json_invalid":
        return _lone_surrogate(content) or ApiError(
            "malformed", f"the body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}"
        )
    if not first["loc"]:
        return ApiError("malformed", "the body must be a JSON object")
    field = str(first["loc"][0])
    # Each alternative type of a field gives an error of its own.
    reasons = list(dict.fromkeys(each["msg"] for each in found if str(each["loc"][0]) == field))
    if len(reasons) > _MAX_REASONS:
        reasons = [*reasons[:_MAX_REASONS], "..."]
    return ApiError("malformed", f"{field}: {'; or '.join(reasons)}", param=field)


def _lone_surrogate(content: bytes) -> ApiError | None:
    """Return the error for a text with half a character, which names the text; None if the body has no such text."""
    try:
        parsed = json.loads(content)  # Python's own parser accepts lone surrogates
        damaged = ((path, _LONE_SURROGATE.search(text)) for path, text in _texts(parsed, ""))
        path, found = next(((path, found) for path, found in damaged if found is not None), ("", None))
    except (ValueError, RecursionError):
        return None
    if found is None:
        return None
    shown = path[:_MAX_PATH].encode("ascii", "backslashreplace").decode()
    return ApiError(
        "malformed",
        f"{shown}: the text has a lone surrogate, \\u{ord(found[0]):x} at character {found.start()}, which is half of "
        "a character: leave it out, or send the other half too",
        param=re.split(r"[.[]", shown)[0],
    )


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Return the texts in a JSON value with their paths, such as `documents[3].text`."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, f"{path}.{name}" if path else name)
