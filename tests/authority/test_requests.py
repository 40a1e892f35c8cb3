"""From what an officer writes to what is sealed: forms, limits, attachments."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from authority.requests import flagged, matter_of, members_in, order_of, prepared
from authority.sent import Outbox
from crypto.sealing import unseal_bytes
from protocol import limits
from protocol.ids import parse_authority_id
from protocol.problems import Refused
from protocol.procedures.production import ProductionParticulars
from tests.actors import Platform, fresh_jti

PLATFORM = Platform(post_quantum=False)
ME = parse_authority_id("kr-knpa-cyber")
MEMBERS: dict[str, Any] = {
    "framework": "eu.e-evidence",
    "basis": "Art. 5",
    "categories": ["subscriber"],
    "facts": "It sold stolen cards.",
    "officer": {"name": "Kim Minji"},
    "targets": [{"by": "account", "value": "@x"}],
}


def seal(folder: Path, **members: Any) -> tuple[ProductionParticulars, Any, Outbox]:
    outbox = Outbox(folder / "sent")
    order = order_of(MEMBERS | members, folder)
    told: list[str] = []
    found = prepared(
        order, recipients=(PLATFORM.desk.recipient,), authority=ME, jti=fresh_jti(), outbox=outbox, told=told.append
    )
    assert told == [Path(path).name for path in order.attachments]
    opened = ProductionParticulars.model_validate_json(unseal_bytes(found.sealed, [PLATFORM.desk.identity]))
    return opened, found, outbox


def test_attachments_are_sealed_and_named_by_both_digests(tmp_path: Path) -> None:
    contents = {"order.pdf": b"%PDF", "no ending": b"?"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    opened, found, outbox = seal(tmp_path, attachments=list(contents))
    assert [(one.name, one.type) for one in opened.attachments] == [
        ("order.pdf", "application/pdf"),
        ("no ending", "application/octet-stream"),
    ]
    for attachment, blob in zip(opened.attachments, found.blobs, strict=True):
        sealed = outbox.blob(blob.sha256).read_bytes()
        assert (attachment.sha256, blob.size) == (blob.sha256, len(sealed))
        assert unseal_bytes(sealed, [PLATFORM.desk.identity]) == contents[attachment.name]
        assert attachment.plain_sha256 == hashlib.sha256(contents[attachment.name]).hexdigest()
        assert outbox.blob(blob.sha256).stat().st_mode & 0o777 == 0o600


def test_what_is_too_large_is_refused_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "large").write_bytes(bytes(2_000))
    monkeypatch.setattr(limits, "ATTACHMENT", 1_000)
    with pytest.raises(Refused) as caught:
        seal(tmp_path, attachments=["small", "large"])
    assert (caught.value.code, caught.value.places[0].pointer) == ("too-large", "/attachments/1")
    assert len(list((tmp_path / "sent/blobs").iterdir())) == 1  # no half file
    targets = [{"by": "account", "value": f"{number:0250}"} for number in range(300)]
    with pytest.raises(Refused, match="too-large"):
        seal(tmp_path, targets=targets)


def test_an_attachment_that_is_not_there_stops_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        seal(tmp_path, attachments=["nothing.pdf"])


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"facts": ""}, "facts"),
        ({"targets": []}, "targets"),
        ({"targets": [{"by": "face", "value": "x"}]}, "targets.0.by"),
        ({"officer": {}}, "officer.name"),
        ({"unknown": 1}, "unknown"),
        ({"attachments": "order.pdf"}, "attachments"),
        ({"attachments": [7]}, "attachments.0"),
        ({"framework": "everything"}, "framework"),
        ({"categories": ["everything"]}, "categories.0"),
        ({"span": {"since": "2026-11-02", "until": "x"}}, "span.since"),
        ({"confidential_until": True}, "confidential_until"),
    ],
)
def test_what_does_not_fit_is_told_by_its_place_and_never_by_its_value(members: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as caught:
        order_of(MEMBERS | members | {"officer": members.get("officer", {"name": "canary"})}, Path())
    assert place in {".".join(map(str, one["loc"])) for one in caught.value.errors()}
    assert "canary" not in str(caught.value)


def test_times_of_toml_are_its_own_and_need_an_offset(tmp_path: Path) -> None:
    written = json.dumps(MEMBERS["targets"][0]).replace(":", " =").replace('"by"', "by").replace('"value"', "value")
    base = f'framework="eu.e-evidence"\nbasis="Art. 5"\ncategories=["subscriber"]\nfacts="x"\ntargets=[{written}]\n'
    end = '[officer]\nname="Kim"\n'
    (tmp_path / "good.toml").write_text(
        f"{base}span = {{since=2026-11-01T00:00:00Z, until=2026-11-01T01:00:00Z}}\n{end}"
    )
    order = order_of(members_in(tmp_path / "good.toml"), tmp_path)
    assert order.span is not None
    assert order.span.until - order.span.since == 3_600
    (tmp_path / "bad.toml").write_text(f"{base}span = {{since=2026-11-01T00:00:00, until=2026-11-01}}\n{end}")
    with pytest.raises(ValidationError):
        order_of(members_in(tmp_path / "bad.toml"), tmp_path)


def test_a_supplement_takes_the_matter_from_a_whole_order() -> None:
    assert matter_of(MEMBERS, Path()).facts == MEMBERS["facts"]


def test_a_law_that_does_not_open_the_category_is_named() -> None:
    with pytest.raises(Refused, match="framework-unknown"):
        order_of(MEMBERS | {"framework": "xx.other"}, Path()).cover(())


@given(st.dictionaries(st.sampled_from(["targets", "since", "until", "attachments", "officer", "facts"]),
                       st.none() | st.text(max_size=8) | st.lists(st.text(max_size=8), max_size=2).map(tuple)))  # fmt: skip
def test_whatever_is_typed_as_flags_fits_or_is_told(flags: dict[str, object]) -> None:
    members, folder = flagged(None, flags)
    try:
        matter_of(MEMBERS | members, folder)
    except ValidationError as error:
        assert error.error_count() > 0  # noqa: PT017 (told, and by nothing else)
