"""What a command tells: as members for `--json`, and as text for people. Texts by others are made fit for a terminal."""

from typing import Final

from authority.client import Receipted
from authority.opening import Opened
from crypto.keys import fingerprint_words
from crypto.strict import b64url_decode
from protocol.authorities import Authority
from protocol.cases import Case, State
from protocol.frameworks import ground
from protocol.ids import instant, written
from protocol.terms import Outcome

WAITS: Final = "The desk has not confirmed yet that it has this request; the gateway goes on sending it."


def root_words(root: str) -> str:
    """The words of a root key's id, to be compared by voice."""
    return " ".join(fingerprint_words(b64url_decode(root)))


def applied_members(receipted: Receipted, authority: Authority, root: str) -> dict[str, object]:
    """An application that was taken."""
    return authority_members(authority) | receipt_members(receipted) | {"root_words": root_words(root).split()}


def applied_text(receipted: Receipted, authority: Authority, root: str) -> str:
    """The same for people, who read the words out."""
    return f"""{receipt_text(receipted)}

Two operators of the platform will call you over a line that they choose. Read these words to them:
  {" ".join(authority.words)}
and let them read to you the words of the platform's root:
  {root_words(root)}"""


def authority_members(authority: Authority) -> dict[str, object]:
    """An authority as its registry chain makes it."""
    return {
        "authority": authority.id,
        "state": authority.state.value,
        "application": authority.application.digest,
        "words": list(authority.words),
        "confirmed_by": sorted(authority.operators),
    }


def authority_text(authority: Authority) -> str:
    """The same for people."""
    confirmed = ", ".join(sorted(authority.operators)) or "nobody yet"
    return f"{authority.id} is {authority.state}; confirmed by {confirmed}.\nIn words: {' '.join(authority.words)}"


def receipt_members(receipted: Receipted) -> dict[str, object]:
    """A receipt: its number in the chain, its digest, what it is of, when."""
    promise = receipted.promise
    return {
        "receipt": {
            "seq": promise.seq,
            "digest": receipted.receipt.digest,
            "of": promise.of,
            "taken": promise.iat,
            "due": promise.due,
            "jws": receipted.receipt.raw.decode(),
        }
    }


def receipt_text(receipted: Receipted) -> str:
    """The same for people."""
    promise = receipted.promise
    due = "" if promise.due is None else f"; an answer is due by {written(instant(promise.due))}"
    return f"Receipt {promise.seq} ({receipted.receipt.digest[:16]}…) of {written(instant(promise.iat))}{due}."


def case_members(case: Case) -> dict[str, object]:
    """A case as its verified chain makes it."""
    decided = case.decided
    return {
        "case": case.id,
        "state": case.state.value,
        "received": written(case.received),
        "due": None if case.due is None else written(case.due),
        "overdue": case.overdue,
        "accepted": case.accepted,
        "outcome": None if decided is None else decided.outcome.value,
        "ground": None if decided is None else decided.ground,
        "categories": [] if decided is None else [category.value for category in decided.categories],
        "accounts": 0 if decided is None else decided.accounts,
        "disclosures": [part.sha256 for part in case.disclosures],
        "steps": case.steps,
    }


def case_text(case: Case) -> str:
    """The same for people."""
    lines = [f"Case {case.id} is {case.state}."]
    if case.due is not None:
        lines.append(f"An answer is due by {written(case.due)}{' and is overdue' if case.overdue else ''}.")
    if case.state is State.RECEIVED:
        lines.append(WAITS)
    decided = case.decided
    if decided is not None:
        lines.append(f"The desk answered: {decided.outcome}.")
        if decided.ground is not None:
            found = ground(case.asked.cover.framework, decided.ground)
            lines.append(f"  {decided.ground} ({found.article}): {found.text}")
        if decided.outcome is Outcome.CLARIFICATION_NEEDED:
            lines.append(f"Answer it with: rogatory authority supplement {case.id}")
        elif case.disclosures:
            categories = ", ".join(decided.categories)
            lines.append(f"  {len(case.disclosures)} disclosure(s): {categories}; {decided.accounts} account(s).")
    return "\n".join(lines)


def opened_members(opened: Opened) -> dict[str, object]:
    """What was fetched and opened."""
    return case_members(opened.case) | {
        "explanation": opened.explanation,
        "files": [str(path) for path in opened.files],
        "acknowledged": opened.acknowledged,
    }


def opened_text(opened: Opened) -> str:
    """The same for people."""
    lines = [case_text(opened.case)]
    if opened.explanation is not None:
        lines += ["The desk explains:", *("  " + line for line in _lines(opened.explanation))]
    if opened.files:
        lines += [
            "Opened; digest, case and signer are what the decision says:",
            *(f"  {path}" for path in opened.files),
        ]
    if opened.acknowledged:
        lines.append("Acknowledged.")
    return "\n".join(lines)


def _lines(text: str) -> list[str]:
    """Lines of printable characters: what the desk wrote moves no cursor here."""
    return ["".join(letter for letter in line if letter.isprintable()) for line in text.splitlines()]
