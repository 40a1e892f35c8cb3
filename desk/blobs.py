"""The desk's way to the gateway's blobs: sealed disclosures go up, each under the digest of its ciphertext, and
sealed attachments come down.

Every call carries a proof under the desk's own key. What passes here is ciphertext; nothing is opened.
"""

from collections.abc import Callable
from pathlib import Path
from typing import final

from channels.http import Http
from crypto.keys import SecretKey
from protocol.ids import Digest, Instant, PartyId, numeric, uuid7
from protocol.sayings import Proof
from protocol.statements import say
from protocol.terms import Role


@final
class Blobs:
    """A client of `/v1/blobs`. Raises OSError with a sentence."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def put(self, file: Path, sha256: Digest) -> None:
        """Bring a sealed file to the gateway, streamed. The same file again is harmless."""
        await self._http.put_file(f"/v1/blobs/{sha256}", file)

    async def get(self, to: Path, sha256: Digest, size: int) -> None:
        """Fetch a sealed attachment into a file, its digest checked. Goes on after a break."""
        await self._http.get_file(f"/v1/blobs/{sha256}", to, sha256=sha256, size=size)


def proofs(
    platform: PartyId,
    secret: Callable[[], SecretKey],
    now: Callable[[], Instant],
    entropy: Callable[[int], bytes],
) -> Callable[[str, str], str]:
    """What makes the `Authorization` header of one GET or PUT: a proof, good once (after RFC 9449)."""

    def authorise(method: str, url: str) -> str:
        if method not in {"GET", "PUT"}:
            raise RuntimeError("a proof is for GET and PUT")
        at = now()
        common = {"iss": platform, "aud": platform, "iat": numeric(at), "jti": uuid7(at, entropy(10))}
        said = Proof.model_validate(common | {"htm": method, "htu": url})
        return "Proof " + say(said, secret(), role=Role.DESK).decode()

    return authorise
