"""What may be refused, with which code and status: the one table (RFC 9457).

`Refused` is what every check raises. It has two texts: `detail` for the caller, who learns what to do next and nothing
that is not his to know, and `reason` for the log, which never holds content. Who turns it into HTTP is
`gateway/door/border.py`; into a dead letter, `desk/worker.py`; into an exit code, each party's `cli.py`. A code that is retired
stays reserved here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, final


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One kind of problem: its HTTP status, its title, and what the caller can do."""

    status: int
    title: str
    help: str


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where in a body or statement something is wrong: a JSON pointer (RFC 6901) and what was expected there."""

    pointer: str
    expected: str


_SIGN_ANEW: Final = "Build and sign the statement anew; it was not taken."

PROBLEMS: Final[Mapping[str, Row]] = MappingProxyType(
    {
        # the body
        "not-json": Row(400, "The body is not JSON", "Send one JSON object in UTF-8."),
        "not-utf8": Row(400, "The body is not UTF-8", "Send one JSON object in UTF-8."),
        "doubled-member": Row(400, "A member occurs twice", "Send each member once."),
        "too-deep": Row(400, "The JSON is nested too deeply", "Nest no deeper than the limits that GET /v1 names."),
        "number-refused": Row(400, "A number is not one we read", "Send integers of at most 15 digits."),
        "unknown-member": Row(422, "A member is not known", "Remove the members named in `errors`."),
        "missing-member": Row(422, "A member is missing", "Add the members named in `errors`."),
        "invalid-member": Row(
            422, "A member has a value that is not allowed", "Correct the members named in `errors`."
        ),
        "too-large": Row(413, "The body is too large", "GET /v1 names the limits. Attachments travel as blobs."),
        "too-slow": Row(408, "The body came too slowly", "Send it again over a faster line."),
        "encoding-refused": Row(415, "The body is encoded", "Send it without Content-Encoding."),
        "media-type": Row(
            415, "The media type is not one we read", "Send application/json (blobs: application/octet-stream)."
        ),
        "header-invalid": Row(
            400, "A header is doubled or has a bad form", "Send each header once, in its documented form."
        ),
        # the token
        "token-form": Row(
            400, "The statement is not a compact JWS as we read it", "RFC 7515 §3.1: three segments of base64url."
        ),
        "header-refused": Row(
            400, "The statement's header is not exactly alg, kid, typ", "Send these three members alone."
        ),
        "algorithm-refused": Row(
            400, "The algorithm is not allowed for this key", "Use Ed25519, or ES256 for a P-256 key."
        ),
        "type-refused": Row(
            400, "The statement is of a kind that is not taken here", "See `typ` in the documentation."
        ),
        "key-unknown": Row(401, "The key is not registered", "Sign with a key that you registered, or apply."),
        "key-not-active": Row(401, "The key was not valid at that time", "Sign with the key that is valid now."),
        "key-role": Row(403, "This key may not sign that", "Each kind of statement has one role that may sign it."),
        "signature-invalid": Row(401, "The signature does not fit", "Send the statement exactly as it was signed."),
        # the claims
        "wrong-issuer": Row(
            403, "The key belongs to another party", "`iss` must be the party that registered the key."
        ),
        "wrong-audience": Row(422, "The statement is addressed to somebody else", "`aud` must be this platform's id."),
        "stale": Row(422, "The statement is too old", _SIGN_ANEW),
        "from-the-future": Row(422, "The statement is from the future", "Set your clock. " + _SIGN_ANEW),
        "jti-reused": Row(409, "Other content was sent under this `jti` before", "Use a new `jti` for each statement."),
        # admission
        "authority-exists": Row(409, "This authority's id is taken", "Send a `rekey`, or apply under another id."),
        "authority-not-active": Row(403, "The authority is not active", "Wait until two operators have confirmed it."),
        "framework-unknown": Row(422, "The framework is not one we apply", "GET /v1 names the frameworks."),
        "kind-not-allowed": Row(422, "The framework has no such request", "See the framework's article in `article`."),
        "category-not-allowed": Row(422, "The framework does not open this category", "See the framework's article."),
        "entity-unknown": Row(422, "The addressed establishment is not ours", "GET /v1 names the entities."),
        "recipient-unknown": Row(
            422, "A part is sealed to a key that is not the desk's", "Seal to the keys in the keyset."
        ),
        "impossible": Row(409, "The case does not allow this statement now", "GET the case to see what is possible."),
        "words-wrong": Row(422, "The words are not those of this application", "Compare them again by voice."),
        # sealed parts and blobs
        "sealed-missing": Row(422, "The sealed part is missing", "Send `sealed` beside the statement that names it."),
        "sealed-unexpected": Row(422, "There is a sealed part that no statement names", "Leave `sealed` out."),
        "digest-mismatch": Row(
            422, "The bytes differ from the digest that was signed", "Send the file that you signed."
        ),
        "blob-missing": Row(
            422, "A blob that the statement names is not here", "PUT it first, then send the statement."
        ),
        # reading
        "not-found": Row(404, "There is nothing here for you", "Check the address. What is not yours looks the same."),
        "method-not-allowed": Row(405, "This address does not take that method", "See /openapi.json."),
        "proof-missing": Row(401, "A proof is missing", "Send `Authorization: Proof <JWS>`."),
        "proof-invalid": Row(401, "The proof is not for this request", "Sign `htm` and `htu` of this very request."),
        "proof-reused": Row(401, "The proof was used before", "Make a proof for each request."),
        "precondition-failed": Row(412, "The file is not the version you have", "Start the download anew."),
        "range-refused": Row(416, "The range does not lie in the file", "Ask for bytes below the size."),
        # the service
        "too-many": Row(429, "Too many requests", "Wait as long as `Retry-After` says."),
        "overloaded": Row(
            503, "The gateway is busy", "Wait as long as `Retry-After` says, and send the same bytes again."
        ),
        "stopping": Row(503, "The gateway is stopping", "Send the same bytes again in a moment."),
        "not-durable": Row(
            503, "The statement could not be stored", "Nothing was promised. Send the same bytes again."
        ),
        "internal": Row(500, "The gateway failed", "Send the same bytes again; what was taken stays taken."),
        # found by those who check what others made
        "receipt-wrong": Row(
            502, "A receipt is not what it must be", "Keep it, and call the platform over the second line."
        ),
        "keyset-wrong": Row(502, "The keyset is not the platform's", "Do not seal to it. Call the platform."),
        "disclosure-wrong": Row(502, "The disclosure is not what the decision says", "Acknowledge it as not opened."),
        "case-file-wrong": Row(422, "The case file was changed", "See the place in `errors`."),
    }
)


@final
class Refused(Exception):
    """A check said no. `code` is a key of PROBLEMS; `places` say where; `article` names the law, if it was the
    law; `wait` is after how many seconds to try again.
    """

    def __init__(
        self,
        code: str,
        *,
        detail: str = "",
        reason: str = "",
        places: tuple[Place, ...] = (),
        article: str = "",
        wait: int = 0,
    ) -> None:
        if code not in PROBLEMS:
            raise RuntimeError(f"no such problem: {code}")
        super().__init__(code)
        self.code = code
        self.detail = detail or PROBLEMS[code].help
        self.reason = reason or code
        self.places = places
        self.article = article
        self.wait = wait
        self.rejection: bytes | None = None  # signed, when the sender of the statement was authenticated

    @property
    def row(self) -> Row:
        """The problem's row in the table."""
        return PROBLEMS[self.code]
