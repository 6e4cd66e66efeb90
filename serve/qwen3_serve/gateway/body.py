"""The body of a request: JSON of a declared form, or an error that names the field that is wrong.

The body is read as JSON whatever its content type is, because Ollama does so and `curl -d` sends another one.
"""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from .errors import ApiError

_MAX_REASONS = 3

_Body = TypeVar("_Body", bound="RequestBody")


class RequestBody(BaseModel):
    """Base class of all request bodies. Types are strict, without conversions; unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


async def body_of(request: Request, kind: type[_Body]) -> _Body:
    """Read a request's body.

    Args:
        request: The request; nothing has read its body yet.
        kind: The model that describes the body.

    Raises:
        ApiError: The body is not JSON, or does not match the model.
    """
    content = await request.body()
    try:
        # One pass from bytes to checked values, in compiled code; it refuses lone surrogates and deep nesting.
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise _api_error(error) from None
    except RecursionError:
        raise ApiError("malformed", "the body is nested too deeply") from None


def documented(kind: type[RequestBody]) -> dict[str, Any]:
    """Return the OpenAPI entry of a route that takes such a body; `app` adds the schema that it refers to."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _api_error(error: ValidationError) -> ApiError:
    """Describe what is wrong with a body, without repeating its content."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first = found[0]
    if first["type"] == "json_invalid":
        return ApiError("malformed", f"the body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    if not first["loc"]:
        return ApiError("malformed", "the body must be a JSON object")
    field = str(first["loc"][0])
    # Each alternative type of a field gives an error of its own.
    reasons = list(dict.fromkeys(each["msg"] for each in found if str(each["loc"][0]) == field))
    if len(reasons) > _MAX_REASONS:
        reasons = [*reasons[:_MAX_REASONS], "..."]
    return ApiError("malformed", f"{field}: {'; or '.join(reasons)}", param=field)
