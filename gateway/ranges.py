"""Which bytes of an immutable file a GET is answered with: RFC 9110's conditions and ranges, over one strong ETag.

Pure: header values in, a span out. The ETag is the SHA-256 of the ciphertext, so that what a resumed download is glued together
from is always one version. Nothing here goes by time: there are no dates to compare.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from protocol.ids import Digest
from protocol.problems import Refused

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_ETAG: Final = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*', re.ASCII)  # RFC 9110 §8.8.3


@final
@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` to before `stop` of a file of `size` bytes; `partial` when a range was asked for and is given."""

    start: int
    stop: int
    size: int
    partial: bool

    @property
    def last(self) -> bool:
        """Whether the file's last byte is among them."""
        return self.stop == self.size

    @property
    def content_range(self) -> str:
        """The field of a 206. RFC 9110 §14.4."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


def etag(digest: Digest) -> str:
    """The strong ETag of a ciphertext."""
    return f'"{digest}"'


def select(headers: Mapping[str, str], digest: Digest, size: int) -> Span | None:
    """The span to send, in the order of RFC 9110 §13.2.2; None for 304. `size` is at least 1.

    Raises Refused: `precondition-failed`, `range-refused`.
    """
    tag = etag(digest)
    wanted = headers.get("If-Match")
    if wanted is not None and not _named(wanted, tag, weak=False):
        raise Refused("precondition-failed")
    held = headers.get("If-None-Match")
    if held is not None and _named(held, tag, weak=True):
        return None
    whole = Span(0, size, size, partial=False)
    asked = headers.get("Range")
    if asked is None or headers.get("If-Range", tag) != tag:  # RFC 9110 §13.1.5: anything else than our tag is no match
        return whole
    return _ranged(asked, size) or whole


def _ranged(asked: str, size: int) -> Span | None:
    """A single range; None for what is not one, which is as if it were not there (RFC 9110 §14.2)."""
    found = _RANGE.fullmatch(asked)
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first == "":  # the last bytes
        start, stop = max(0, size - int(last)), size
        if start == stop:
            raise _unsatisfiable(size)
        return Span(start, stop, size, partial=True)
    start, stop = int(first), size if last == "" else min(size, int(last) + 1)
    if last != "" and int(last) < start:
        return None
    if start >= size:
        raise _unsatisfiable(size)
    return Span(start, stop, size, partial=True)


def _unsatisfiable(size: int) -> Refused:
    return Refused("range-refused", detail=f"The file has {size} bytes.", reason="range beyond the file")


def _named(field: str, tag: str, *, weak: bool) -> bool:
    """Whether a list of ETags holds `tag`. RFC 9110 §8.8.3.2: a weak one counts only where `weak` says so."""
    if field.strip() == "*":
        return True
    found = (_ETAG.fullmatch(one) for one in field.split(","))
    return any(one is not None and one[2] == tag and (weak or one[1] is None) for one in found)
