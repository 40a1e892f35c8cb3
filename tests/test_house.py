"""The house's own rules: what the linters cannot see. (The walls between packages are import-linter's, in `make lint`.)"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("authority", "channels", "crypto", "desk", "gateway", "protocol", "rogatory")
LONGEST = 400
NOT_OURS = re.compile(r"\.git|\.venv.*|\.[a-z_]+_cache|\.hypothesis|__pycache__|node_modules|build|dist|demo-.*")
MEASURED = re.compile(r"\.coverage(\..*)?")  # the data of the very run that looks: its processes write them meanwhile
READS_CLOCKS = re.compile(r"\w+/(app|cli)\.py|rogatory/\w+\.py|channels/logs\.py")
# What takes long to import, and has no business in an answer to --help.
HEAVY = ("aiohttp", "cryptography", "jwt", "nacl", "pydantic", "redis", "sqlalchemy")

MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_bytes()) for path in MODULES}


def files() -> list[Path]:
    """Every file of the repository that a person wrote, wherever it is checked out."""
    found = []
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if not NOT_OURS.fullmatch(name)]
        found += [Path(folder, name) for name in names if not MEASURED.fullmatch(name)]
    return found


def calls(tree: ast.AST) -> list[str]:
    """The dotted names that a module calls, as they are written: `datetime.now`, `Statement`."""
    return [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def pins(lock: str) -> set[str]:
    """The lines `name==version` of a lock file."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    return set(re.findall(r"^([a-z0-9-]+==[^\s;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_installed_distribution_owns_the_name_of_a_package_of_ours(package: str) -> None:
    # `crypto` and `channels` are an application's names, not a library's; a namesake would shadow ours, or be shadowed.
    assert set(packages_distributions().get(package, ())) <= {"rogatory"}
    assert package not in sys.stdlib_module_names


def test_every_package_is_there() -> None:
    assert [package for package in PACKAGES if f"{package}/__init__.py" not in TREES] == []


def test_every_module_begins_by_saying_what_it_is() -> None:
    assert [name for name, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_no_module_is_too_long_to_be_read_at_one_sitting() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): path.read_bytes().count(b"\n") for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_a_statement_is_made_at_one_place_alone() -> None:
    made = re.compile(r"(\w+\.)*Statement")
    places = [name for name, tree in TREES.items() if any(made.fullmatch(call) for call in calls(tree))]
    assert places == ["protocol/statements.py"]


def test_clocks_are_read_at_the_edges_alone() -> None:
    clock = re.compile(r"((\w+\.)*(datetime|date)\.(now|utcnow|today))|time\.time(_ns)?")
    readers = [name for name, tree in TREES.items() if any(clock.fullmatch(call) for call in calls(tree))]
    assert [name for name in readers if not READS_CLOCKS.fullmatch(name)] == []


def test_no_file_tells_of_the_machine_it_was_written_on() -> None:
    home = re.compile(rb"(?<![\w.-])/(?:work|root)/")
    assert [path.relative_to(ROOT).as_posix() for path in files() if home.search(path.read_bytes())] == []


@pytest.mark.parametrize("module", ["authority.cli", "desk.cli", "gateway.cli", "rogatory.__main__"])
def test_a_command_line_answers_without_the_heavy_libraries(module: str) -> None:
    look = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_the_locks_agree_and_name_every_file_by_its_hash() -> None:
    assert pins("runtime") < pins("test") < pins("lint")
    for lock in (ROOT / "requirements").glob("*.txt"):
        wants = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
        assert [want for want in wants if "--hash=sha256:" not in want] == [], lock.name
