"""The document of the API: OpenAPI 3.1, made from the routes and the wire's models, so that it cannot differ from either.

`document` is given the rows and returns bytes; it is handed to its own route as a value. What every call can be refused with
stands once, in `COMMON`; what a call can be refused with besides, in its row.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.door import Route, Takes
from protocol import limits
from protocol.ids import AUTHORITY_PATTERN, DIGEST_PATTERN, UUID8_PATTERN
from protocol.problems import PROBLEMS
from protocol.wire import ProblemAnswer, StatementBody

VERSION: Final = "1.0"  # of the API, as its paths say: `/v1`
PROBLEM: Final = "application/problem+json"
COMMON: Final = (
    "header-invalid",
    "not-found",
    "method-not-allowed",
    "encoding-refused",
    "too-large",
    "too-many",
    "overloaded",
    "stopping",
    "internal",
)
SEGMENTS: Final[Mapping[str, str]] = {  # every segment that is an id, and the pattern of it
    "authority": AUTHORITY_PATTERN,
    "case": UUID8_PATTERN,
    "sha256": DIGEST_PATTERN,
    "statement": DIGEST_PATTERN,
}
_ABOUT: Final = """\
Every POST carries a signed statement and authenticates itself. Every other call that is not public carries
`Authorization: Proof <JWS>`: a statement of kind proof over this method and address, good once within a minute. Sending the
same bytes again is always safe. Errors are RFC 9457 problems with a stable `code`.
"""


def document(routes: Iterable[Route], url: str) -> bytes:
    """The API of these routes, served under `url`, as JSON."""
    rows = tuple(routes)
    models: set[type[BaseModel]] = {ProblemAnswer, StatementBody}
    models |= {row.answers for row in rows if not isinstance(row.answers, str)}
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in rows:
        paths[row.path][row.method.lower()] = _operation(row)
    told = {
        "openapi": "3.1.0",
        "info": {"title": "Rogatory", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": url}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "proof": {"type": "http", "scheme": "Proof", "description": "A signed proof of this very request."}
            },
        },
    }
    return json.dumps(told, ensure_ascii=False).encode()


def _operation(row: Route) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": _name(row),
        "summary": row.summary,
        "parameters": [*_segments(row), *_query(row), *_fields(row)],
        "responses": _answers(row) | _problems(row),
    }
    if row.roles:
        told["security"] = [{"proof": []}]
        told["description"] = "Proof by: " + ", ".join(sorted(row.roles)) + "."
    if row.takes is Takes.STATEMENT:
        told["requestBody"] = _body("application/json", _of(StatementBody), f"At most {limits.BODY} bytes.")
    if row.takes is Takes.OCTETS:
        told["requestBody"] = _body(
            "application/octet-stream", {}, "Ciphertext (age v1), whose SHA-256 is the address."
        )
    return told


def _name(row: Route) -> str:
    """A name of its own: `get_v1_cases_case_statements`."""
    return "_".join([row.method.lower(), *re.findall(r"[a-z0-9]+", row.path)])


def _body(media: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"required": True, "description": description, "content": {media: {"schema": schema}}}


def _segments(row: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^{SEGMENTS[name]}$"}}
        for name in re.findall(r"{(\w+)}", row.path)
    ]


def _query(row: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "in": "query",
            "description": one.says,
            "schema": {"type": "string", "pattern": f"^(?:{one.pattern})$"},
        }
        for one in row.query
    ]


def _fields(row: Route) -> list[dict[str, Any]]:
    return [{"name": name, "in": "header", "schema": {"type": "string"}} for name in row.headers]


def _answers(row: Route) -> dict[str, Any]:
    media, schema = (row.answers, {}) if isinstance(row.answers, str) else ("application/json", _of(row.answers))
    content = {media: {"schema": schema}}
    return {
        str(status): {"description": _STATUS[status]} | ({} if status in _EMPTY else {"content": content})
        for status in row.statuses
    }


_STATUS: Final[Mapping[int, str]] = {
    200: "As asked; of a statement: taken before, and the same receipt.",
    201: "Taken, and durable.",
    206: "The range that was asked for.",
    304: "The file is the one that the caller holds.",
    503: "Not now; the reasons are named.",
}
_EMPTY: Final = frozenset({304})


def _problems(row: Route) -> dict[str, Any]:
    """The problems of a call, those of one status together."""
    codes: dict[int, list[str]] = defaultdict(list)
    for code in (*COMMON, *row.problems):
        status = PROBLEMS[code].status
        if status not in row.statuses and code not in codes[status]:
            codes[status].append(code)
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in found),
            "content": {PROBLEM: {"schema": _of(ProblemAnswer)}},
        }
        for status, found in sorted(codes.items())
        if found
    }


def _of(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
