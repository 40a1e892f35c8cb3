"""The bar: nothing before two seconds, then the file's name and how far it is."""

from io import StringIO

import pytest
from rich.console import Console

from authority import progress


def test_a_bar_shows_only_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = StringIO()
    with progress.Bar(Console(file=screen, force_terminal=True, width=80)) as bar:
        bar.about("order\x1b.pdf")
        bar.at(1, 10)
        assert screen.getvalue() == ""
        monkeypatch.setattr(progress, "PATIENCE", -1.0)
        bar.at(5, 10)
    assert "order.pdf" in screen.getvalue()
