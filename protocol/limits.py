"""What both ends must agree on: sizes, counts, depths, windows. What an operator may choose is in a party's settings."""

from datetime import timedelta
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

BODY: Final = 256 * KIB  # bytes of one POST body
STATEMENT: Final = 64 * KIB  # bytes of one compact JWS
SEALED: Final = 64 * KIB  # bytes of one sealed part beside a statement
ATTACHMENT: Final = 64 * MIB  # bytes of one sealed attachment
ATTACHMENTS: Final = 32  # blobs that one statement may name
DEPTH: Final = 8  # levels of JSON
SUBJECTS: Final = 1_000  # targets of one request
RECIPIENTS: Final = 8  # keys that one part is sealed to
SIGNING_KEYS: Final = 8  # keys that one authority presents
DISCLOSURES: Final = 64  # files that one decision names
STATEMENTS: Final = 1_000  # statements in one chain

FRESH: Final = timedelta(minutes=5)  # age of a statement at the door
LEEWAY: Final = timedelta(seconds=60)  # how far ahead the sender's clock may be
PROOF: Final = timedelta(seconds=60)  # age of a proof (RFC 9449 §11.1)
CLOCKS: Final = timedelta(minutes=5)  # how far a receipt's time may be from the reader's own
HELD_BACK: Final = timedelta(hours=1)  # a receipt older than this when the desk first sees it is flagged
BLOB_ORPHAN: Final = timedelta(hours=24)  # how long a blob waits for the statement that names it
CONFIRMATIONS: Final = 2  # operators who must have confirmed an application
APPROVALS: Final = 2  # reviewers who must have approved a draft
