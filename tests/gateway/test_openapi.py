import json
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.door import Parts
from gateway.routes import table
from protocol.problems import PROBLEMS
from tests.gateway.doorstep import URL, Doorstep, doorstep


@pytest.fixture
async def gate(tmp_path: Path) -> Any:
    async with doorstep(tmp_path) as one:
        yield one


@pytest.fixture
async def parts(gate: Doorstep) -> Parts:
    parts: Parts = gate.gateway.listener._door.parts
    return parts


@pytest.fixture
async def document(gate: Doorstep) -> dict[str, Any]:
    told: dict[str, Any] = (await gate.get("/openapi.json")).told
    return told


async def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": URL}]
    OpenAPIV31SpecValidator(document).validate()


async def test_the_document_lists_exactly_the_calls_that_the_door_answers(
    document: dict[str, Any], gate: Doorstep
) -> None:
    listed = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    door = gate.gateway.listener._door
    answered = {(method, "/" + "/".join(path)) for path, methods in door._paths.items() for method in methods}
    assert listed == answered
    assert len(listed) == 19


async def test_every_call_of_the_issue_is_there(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == {
        "/.well-known/security.txt",
        "/healthz",
        "/openapi.json",
        "/readyz",
        "/v1",
        "/v1/authorities",
        "/v1/authorities/{authority}",
        "/v1/authorities/{authority}/acceptances/{statement}",
        "/v1/authorities/{authority}/statements",
        "/v1/blobs/{sha256}",
        "/v1/cases",
        "/v1/cases/{case}",
        "/v1/cases/{case}/file",
        "/v1/cases/{case}/statements",
    }


async def test_what_asks_for_a_proof_says_so(document: dict[str, Any], parts: Parts) -> None:
    for row in table(parts):
        operation = document["paths"][row.path][row.method.lower()]
        assert ("security" in operation) == bool(row.roles)
        assert ("requestBody" in operation) == (row.method in {"POST", "PUT"})


async def test_every_operation_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))


async def test_every_problem_code_of_a_route_is_in_the_table(parts: Parts) -> None:
    assert [code for row in table(parts) for code in row.problems if code not in PROBLEMS] == []


async def test_the_document_is_small_enough_to_be_read(document: dict[str, Any]) -> None:
    assert len(json.dumps(document)) < 200_000
