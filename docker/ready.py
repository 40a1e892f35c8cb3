"""Whether the gateway in this container is ready: exit code 0 when `/readyz` says so, 1 in every other case.

The image's health check. It needs the standard library alone, reads no environment, and prints nothing that it was sent.
"""

import sys
from http.client import HTTPConnection, HTTPException
from typing import Final

PORT: Final = 8440
PATIENCE: Final = 2.0  # seconds; less than the health check's own
OK: Final = 200


def ready(port: int) -> bool:
    """Ask once."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if ready(int(sys.argv[1]) if len(sys.argv) > 1 else PORT) else 1)
