"""The body of a request: JSON of a known form, or a failure that says where it is not.

The body is read as JSON whatever its content type says, as Ollama and `curl -d` have it.
"""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from .errors import Failure

__all__ = ["RequestBody", "body_of", "documented"]

_MOST_SHOWN = 3

_Body = TypeVar("_Body", bound="RequestBody")


class RequestBody(BaseModel):
    """What requests are declared with. Types are taken at their word; fields that nobody knows are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


async def body_of(request: Request, kind: type[_Body]) -> _Body:
    """Reads a request's body.

    Args:
        request: its body not read yet.
        kind: what it should be.

    Raises:
        Failure: it is not JSON, or not of the form.
    """
    content = await request.body()
    try:
        # One pass from bytes to checked values, in compiled code; it refuses lone surrogates and deep nesting.
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise _failure_of(error) from None
    except RecursionError:
        raise Failure("malformed", "the body is nested too deeply") from None


def documented(kind: type[RequestBody]) -> dict[str, Any]:
    """Returns what the OpenAPI document says about a route that takes such a body; see `_openapi`."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _failure_of(error: ValidationError) -> Failure:
    """Says what is wrong with a body, without repeating what it holds."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first = found[0]
    if first["type"] == "json_invalid":
        return Failure("malformed", f"the body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    if not first["loc"]:
        return Failure("malformed", "the body must be a JSON object")
    field = str(first["loc"][0])
    # The alternatives of one field each have an error of their own.
    reasons = list(dict.fromkeys(each["msg"] for each in found if str(each["loc"][0]) == field))
    if len(reasons) > _MOST_SHOWN:
        reasons = [*reasons[:_MOST_SHOWN], "..."]
    return Failure("malformed", f"{field}: {'; or '.join(reasons)}", param=field)
