"""The documents are true: links lead somewhere, named files and commands exist, diagrams and the problem table are whole."""

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from rogatory.__main__ import main

ROOT = Path(__file__).parents[2]
NOT_OURS = re.compile(r"\.git|\.venv.*|\.[a-z_]+_cache|\.hypothesis|__pycache__|node_modules|build|dist|demo-.*")
PACKAGES = ("authority", "channels", "crypto", "desk", "gateway", "protocol", "rogatory")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
NAMED_FILE = re.compile(
    r"(?<![\w/.-])((?:benchmarks|docker|docs|keys|scripts|tests|"
    + "|".join(PACKAGES)
    + r")/[\w./-]*\.(?:mjs|md|py|sh|toml|txt))"
)
COMMAND = re.compile(r"\brogatory((?: +(?:--)?[\w|-]+)+)")


def documents() -> Iterator[Path]:
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if not NOT_OURS.fullmatch(name)]
        yield from (Path(folder, name) for name in names if name.endswith(".md"))


DOCUMENTS = sorted(documents())
BY_NAME = [pytest.param(path, id=path.relative_to(ROOT).as_posix()) for path in DOCUMENTS]


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """The names that the headings get, as code hosts make them."""
    bare = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(text)))
    return {one.replace(" ", "-") for one in bare}


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for link in LINK.findall(prose(text)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        found = (page.parent / target).resolve()
        if not found.exists() or (anchor and anchor not in anchors(found.read_text() if target else text)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", BY_NAME)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


def test_a_link_to_nothing_is_found() -> None:
    page = ROOT / "docs" / "architecture.md"
    text = "# Here\n[a](#here) [b](decisions/README.md) [c](https://example.org) [d](nowhere.md) [e](#nowhere)"
    assert broken_links(page, text) == ["nowhere.md", "#nowhere"]


@pytest.mark.parametrize("page", BY_NAME)
def test_every_file_that_a_document_names_exists(page: Path) -> None:
    named = set(NAMED_FILE.findall(page.read_text()))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_map_of_the_house_has_every_module_and_no_other() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    house = text.partition("<!-- house: begin -->")[2].partition("<!-- house: end -->")[0]
    drawn = {name for name in NAMED_FILE.findall(house) if name.endswith(".py") and not name.startswith("tests/")}
    there = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    bare = {f"{package}/__init__.py" for package in ("authority", "crypto", "desk", "gateway", "protocol", "rogatory")}
    assert sorted(there - drawn - bare) == []
    assert sorted(drawn - there) == []


# Diagrams. Not mermaid's own grammar: enough to find a slip of the pen.

OPENERS = {"subgraph", "loop", "alt", "opt", "par"}
LABEL = r'(?:\["[^"]+"\]|\[\("[^"]+"\)\]|\(\["[^"]+"\]\))'
NODE = rf"\w+(?:{LABEL})?"
LINES = {
    "flowchart": re.compile(
        rf'(?:{NODE}|{NODE} (?:-->|---|-- "[^"]+" -->|-\. "[^"]+" \.->?) {NODE}|subgraph \w+(?:{LABEL})?|end)'
    ),
    "sequenceDiagram": re.compile(
        r"(?:autonumber|participant \w+ as .+|\w+(?:->>|-->>)\w+: .+|Note over \w+(?:,\w+)?: .+|loop .+|alt .+|else .+|opt .+|end)"
    ),
    "stateDiagram-v2": re.compile(r"(?:\[\*\]|\w+) --> (?:\[\*\]|\w+)(?: : .+)?"),
}


def slip(diagram: str) -> str | None:
    """The first line of a diagram that is not well-formed, or None."""
    first, *lines = [line.strip() for line in diagram.splitlines()]
    kind = first.split(" ")[0]
    if kind not in LINES or (kind == "flowchart" and first not in {"flowchart TB", "flowchart TD", "flowchart LR"}):
        return first
    depth = 0
    for line in lines:
        depth += (line.split(" ")[0] in OPENERS) - (line == "end")
        apart = kind == "sequenceDiagram" and ";" in line  # mermaid takes it for the end of the line
        if LINES[kind].fullmatch(line) is None or apart or depth < 0:
            return line
    return None if depth == 0 else "end"


def diagrams() -> list[object]:
    found: list[object] = []
    for page in DOCUMENTS:
        blocks = [body for language, body in FENCE.findall(page.read_text()) if language == "mermaid"]
        found += [pytest.param(one, id=f"{page.relative_to(ROOT)}-{n}") for n, one in enumerate(blocks, 1)]
    return found


@pytest.mark.parametrize("diagram", diagrams())
def test_every_diagram_is_well_formed(diagram: str) -> None:
    assert slip(diagram) is None


@pytest.mark.parametrize(
    ("diagram", "where"),
    [
        ("graph\na --> b", "graph"),
        ("flowchart XY\na --> b", "flowchart XY"),
        ("flowchart TB\na -> b", "a -> b"),
        ('flowchart TB\na["x]', 'a["x]'),
        ('flowchart TB\nsubgraph s["x"]\na --> b', "end"),
        ("flowchart TB\nend", "end"),
        ("sequenceDiagram\nA->>B", "A->>B"),
        ("sequenceDiagram\nA->>B: one; two", "A->>B: one; two"),
        ("stateDiagram-v2\na -> b", "a -> b"),
    ],
)
def test_a_slip_in_a_diagram_is_found(diagram: str, where: str) -> None:
    assert slip(diagram) == where


def test_every_page_of_a_decision_is_in_the_list_and_has_its_four_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(folder.glob("[0-9]*.md"))
    listed = LINK.findall((folder / "README.md").read_text())
    assert listed == [page.name for page in pages]
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        assert text.startswith(f"# {page.name[:4]}. "), page.name
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Options", "Chosen", "Price"], page.name


# The problem table.


def table_writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_problem_table", ROOT / "scripts" / "write_problem_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_problem_codes_is_current() -> None:
    page = (ROOT / "docs" / "error-handling.md").read_text()
    assert page == table_writer().written_anew(page), "run python scripts/write_problem_table.py"


def test_a_code_that_is_missing_in_the_table_is_found() -> None:
    writer = table_writer()
    page = (ROOT / "docs" / "error-handling.md").read_text()
    codes = dict(list(writer.PROBLEMS.items())[1:])
    assert writer.written_anew(page, codes) != page
    with pytest.raises(ValueError, match="both markers"):
        writer.written_anew("no markers")


# The commands.


def code_in(text: str) -> str:
    """Everything that stands in code: fenced blocks but for diagrams, then spans."""
    blocks = [body.replace("\\\n", " ") for language, body in FENCE.findall(text) if language != "mermaid"]
    return "\n".join([*blocks, *CODE.findall(prose(text))])


def unknown_command(words: str) -> str | None:
    """The first word after `rogatory` that is neither a command, an option of one, nor an argument; else None."""
    commands: list[click.Command] = [main]
    for word in words.split():
        if word.startswith("-"):
            if not all(_has_option(command, word) for command in commands):
                return word
            continue
        groups = [command for command in commands if isinstance(command, click.Group)]
        if not groups:  # an argument, or an option's value
            continue
        found = [_found(group, name) for group in groups for name in word.split("|")]
        if None in found:
            return word
        commands = [one for one in found if one is not None]
    return None


def _found(group: click.Group, name: str) -> click.Command | None:
    return group.get_command(click.Context(group), name)


def _has_option(command: click.Command, option: str) -> bool:
    return any(option in one.opts for one in command.get_params(click.Context(command)))


@pytest.mark.parametrize("page", BY_NAME)
def test_every_command_that_a_document_names_exists(page: Path) -> None:
    used = {words.strip() for words in COMMAND.findall(code_in(page.read_text()))}
    assert {words: wrong for words in sorted(used) if (wrong := unknown_command(words)) is not None} == {}


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("keys init DIR --platform", None),
        ("keys init|status", None),
        ("keys forge", "forge"),
        ("keys init|forge", "init|forge"),
        ("nothing", "nothing"),
        ("keys init --force", "--force"),
        ("--help", None),
    ],
)
def test_a_command_that_does_not_exist_is_found(words: str, wrong: str | None) -> None:
    assert unknown_command(words) == wrong


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert [one for one in versions[1:] if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", one)] == []
    sections = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
