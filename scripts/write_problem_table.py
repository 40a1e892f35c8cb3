"""Write the table of problem codes in docs/error-handling.md anew from protocol/problems.py.

    python scripts/write_problem_table.py            # writes the page
    python scripts/write_problem_table.py --check    # writes nothing; exit code 1 when the page is not current

Only what stands between the two markers is touched. tests/docs/test_docs.py holds the page to what this writes.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from protocol.problems import PROBLEMS, Row  # noqa: E402 (the repository is on the path from here on)

PAGE: Final = ROOT / "docs" / "error-handling.md"
BEGIN: Final = "<!-- problem table: begin, written by scripts/write_problem_table.py -->"
END: Final = "<!-- problem table: end -->"


def table(problems: Mapping[str, Row]) -> str:
    """The rows as Markdown, in the order of the module: code, status, title, and what the caller can do."""
    lines = ["| code | status | title | what to do |", "|---|---|---|---|"]
    lines += [f"| `{code}` | {row.status} | {row.title} | {row.help} |" for code, row in problems.items()]
    return "\n".join(lines)


def written_anew(page: str, problems: Mapping[str, Row] = PROBLEMS) -> str:
    """`page` with the table as it should be. Raises ValueError when a marker is not there exactly once."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError("docs/error-handling.md must have both markers of the problem table, once each")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table(problems)}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` say whether it is current."""
    page = PAGE.read_text(encoding="utf-8")
    anew = written_anew(page)
    if page == anew:
        return 0
    if "--check" in arguments:
        print("docs/error-handling.md is not current: run python scripts/write_problem_table.py", file=sys.stderr)
        return 1
    PAGE.write_text(anew, encoding="utf-8")
    print(f"docs/error-handling.md: {len(PROBLEMS)} codes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
