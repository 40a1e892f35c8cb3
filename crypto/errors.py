"""What can go wrong in `crypto`, as types.

Each error carries a `flaw`: a short constant that names the rule that was broken. It never carries content, keys, or a
text for a caller; who translates an error into words is `protocol.statements` or a party's edge.
"""


class CryptoError(Exception):
    """The root of this package's errors. `flaw` is a constant such as `doubled-member`, safe to log."""

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.flaw = flaw


class NotStrict(CryptoError):
    """JSON or base64url that more than one reading could be given to."""


class BadToken(CryptoError):
    """A compact JWS whose form or header is not one that we write or read."""


class BadKey(CryptoError):
    """A public or private key that is not exactly of the form and on the curve that it claims."""


class BadSignature(CryptoError):
    """The signature does not fit the message and the key."""


class SealingError(CryptoError):
    """A sealed file that cannot be made or opened: form, recipient, or an altered byte."""


class BoxError(CryptoError):
    """A queue entry that is not for us, was altered, or was moved to another channel."""


class KeyringError(CryptoError):
    """A key ring file that cannot be opened, read or replaced."""
