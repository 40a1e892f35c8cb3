"""The routes: the one table of what the API answers, and the door that is built from it.

A module a subject; each makes its rows from the parts it stands on. A path's segments become ids here and nowhere else. The
document of the API is made from this same table.
"""

import json

from crypto.keys import read_jwk
from gateway.door import Door, Parts, Route
from gateway.openapi import document
from gateway.routes import authorities, blobs, cases, public


def table(parts: Parts) -> tuple[Route, ...]:
    """Every call of the API. Raises OSError, BadKey for the root's public key."""
    root = read_jwk(json.loads(parts.settings.root.read_text()))
    said = (
        *public.routes(parts, root),
        *authorities.routes(parts),
        *cases.routes(parts, root),
        *blobs.routes(parts),
    )
    return (*said, public.described(document((*said, public.described(b"")), parts.settings.public_url)))


def build(parts: Parts) -> Door:
    """The door with all routes. Raises as `table`."""
    return Door(parts, table(parts))
