"""What the code declares of each known field is whole, and docs/gateway.md says the same."""

import pytest
from qwen3_serve.gateway import create_app
from qwen3_serve.gateway.body import RequestBody
from qwen3_serve.gateway.known_fields import EMBEDDING, RERANKING, TEXT, TOKENIZING
from support.known_fields import BODIES, bodies_of, declared, on_the_page, refused_on_the_page


def test_the_page_has_the_fields_of_every_route() -> None:
    assert on_the_page() == declared(create_app())
    tables = {"embedding": EMBEDDING, "reranking": RERANKING, "tokenizing": TOKENIZING, "text": TEXT}
    assert refused_on_the_page() == {kind: frozenset(table) for kind, table in tables.items()}


@pytest.mark.parametrize("kind", BODIES.values())
def test_null_is_not_given(kind: type[RequestBody]) -> None:
    optional = {name: field for name, field in kind.model_fields.items() if not field.is_required()}
    assert {name: field.default for name, field in optional.items()} == dict.fromkeys(optional)


@pytest.mark.parametrize("kind", BODIES.values())
def test_harmless_fields_are_neither_supported_nor_refused(kind: type[RequestBody]) -> None:
    assert not kind.harmless & set(kind.model_fields)
    assert not kind.harmless & set(kind.changing)


def test_every_route_with_texts_refuses_what_it_would_have_to_ignore() -> None:
    for path, kind in bodies_of(create_app()):
        assert kind.changing or path in ("/api/show", "/api/pull"), path
