"""A progress bar for what takes longer than two seconds. It writes to the terminal's error stream, and to nothing else."""

import time
from types import TracebackType
from typing import Final, Self, final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

PATIENCE: Final = 2.0  # seconds that nobody need be told of


@final
class Bar:
    """One bar, for one file after the other."""

    def __init__(self, console: Console | None = None) -> None:
        shown = console or Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        self._progress = Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal)
        self._begun = time.monotonic()
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def about(self, name: str) -> None:
        """The next bytes are of this file."""
        self._begun = time.monotonic()
        self._progress.reset(self._task, description="".join(letter for letter in name if letter.isprintable()))

    def at(self, done: int, size: int) -> None:
        """So many bytes of so many."""
        if time.monotonic() - self._begun > PATIENCE:
            self._progress.start()
        self._progress.update(self._task, completed=done, total=size)
