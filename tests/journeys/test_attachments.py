"""A document goes with a request, from the officer's disk to a folder of the reviewer's, by the commands that people give."""

import json
from pathlib import Path

import pytest

from tests.journeys.town import Town, rogatory


def said(done: object) -> dict[str, object]:
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    found: dict[str, object] = json.loads(done.stdout)  # type: ignore[attr-defined]
    return found


def officer_at(town: Town, home: Path) -> None:
    """An authority that is confirmed, made by its own commands."""
    told = [
        "--id",
        "kr-knpa-cyber",
        "--name",
        "Police",
        "--country",
        "KR",
        "--type",
        "police",
        "--contact",
        "directory",
    ]
    told += ["--gateway", town.url, "--platform", town.platform.id, "--root", town.platform.root.public.id]
    said(rogatory("authority", "init", "--home", home, *told, "--cost", "interactive", "--json"))
    words = said(rogatory("authority", "apply", "--home", home, "--json"))["words"]
    for name in ("alice", "bob"):
        confirm = ["--line", "directory", "--words", " ".join(words), "--as", town.folder / "operators" / name]  # type: ignore[arg-type]
        said(rogatory("gateway", "authorities", "confirm", "kr-knpa-cyber", *confirm, "--json"))


@pytest.mark.parametrize("size", [100, 3_000_000])
async def test_a_document_arrives_as_it_was_sent(town: Town, tmp_path: Path, size: int) -> None:
    home, order = tmp_path / "officer", tmp_path / "order.pdf"
    order.write_bytes(bytes(range(256)) * (size // 256 + 1))
    officer_at(town, home)
    law = ["--framework", "eu.e-evidence", "--basis", "Art. 5", "--category", "subscriber"]
    matter = ["--target", "account:@user00042", "--facts", "Fraud.", "--officer", "Kim", "--attach", order]
    case = str(said(rogatory("authority", "request", "--home", home, *law, *matter, "--json"))["case"])

    async def drafted() -> bool:
        rows = json.loads(rogatory("desk", "cases", "--as", town.folder / "reviewers/carol", "--json").stdout)
        return any(row["case"] == case and row["owed"] == "review" for row in rows)

    await town.until(drafted, "the desk has a draft")
    words = ["-o", tmp_path / "seen", "--as", town.folder / "reviewers/carol", "--json"]
    (file,) = said(rogatory("desk", "attachments", case, *words))["files"]  # type: ignore[misc]
    assert Path(file).name == "1-order.pdf"
    assert Path(file).read_bytes() == order.read_bytes()
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["1-order.pdf"]
