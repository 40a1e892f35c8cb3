"""The demo: the whole way of a request on this machine, told step by step, each line something that really happened.

Gateway, desk and authority are processes of their own that speak over HTTP on loopback and over the sealed queue alone. This module
starts them, gives the commands that people would give, looks at what lies on disk, and stops at the first thing that is not as it
should be. What it made stays in its folder.
"""

import asyncio
import base64
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, final

import click
from rich.console import Console
from rich.markup import escape

from channels.http import Answered, Http
from crypto.keyring import Keyring, read_passphrase
from crypto.keys import Ed25519Secret
from crypto.strict import b64url_decode, dumps
from protocol.sayings import Request
from protocol.statements import claims, say
from rogatory import stage
from rogatory.stage import Untrue

TARGET: Final = "@user00042"
FACTS: Final = "The account sold the keys of a hospital's network on 12 November."
OFFICER: Final = "Insp. Kim Minji"
PLATFORM: Final = "chat.example"
AUTHORITY: Final = "kr-knpa-cyber"
OTHER: Final = "de-bka-so"
LINE: Final = "switchboard, number from the ministry's printed directory"
ENTRIES: Final = 4  # in the queue: an application, two confirmations, the request


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), help="Where to leave everything; must not be there."
)
def demo(folder: Path | None) -> None:
    """The whole way of a request, then three attacks that fail. Everything stays in a folder to look at.

    Example: rogatory demo --folder demo-look
    """
    started = time.monotonic()
    made = (folder or Path(f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}")).absolute()
    made.mkdir(mode=0o700)
    with ExitStack() as processes:
        story = Story(made, processes)
        for chapter in (
            story.keys,
            story.register,
            story.ask,
            story.blind,
            story.review,
            story.disclose,
            story.attacks,
        ):
            chapter()
    story.console.print(f"\nEverything was as it should be, in {time.monotonic() - started:.0f} s. It lies in {made}")


@final
class Story:
    """One run: a folder, the processes in it, and what is told."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        self.folder = folder
        self.console = Console(highlight=False)
        self._processes = processes
        self._town = folder / "town"
        self._port = stage.free_port()
        self._url = f"http://127.0.0.1:{self._port}"
        self._root = ""
        self._case = ""
        self._receipt: dict[str, Any] = {}

    # telling

    def title(self, text: str) -> None:
        """A chapter begins."""
        self.console.print()
        self.console.rule(f"[bold]{escape(text)}", align="left")

    def tell(self, who: str, text: str) -> None:
        """Something happened."""
        self.console.print(f"  [green]✓[/] [bold]{who:<10}[/] {escape(text)}", soft_wrap=True)

    def look(self, text: str) -> None:
        """What it looks like."""
        self.console.print(f"      [dim]{escape(text)}[/]", soft_wrap=True)

    # doing

    def run(self, *words: str | Path, fails: str = "") -> dict[str, Any]:
        """A command as a process of its own; its JSON. With `fails`, it must fail, and name that problem."""
        command = [sys.executable, "-m", "rogatory", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=self.folder)
        if fails:
            if done.returncode == 0 or fails not in done.stderr:
                raise Untrue(
                    f"`rogatory {words[0]} {words[1]}` should have failed with {fails}.\n{done.stdout}{done.stderr}"
                )
            return {}
        if done.returncode != 0:
            raise Untrue(f"`rogatory {' '.join(map(str, words))}` failed.\n{done.stderr}")
        try:
            found: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            return {}
        return found

    def start(self, party: str, verb: str) -> subprocess.Popen[bytes]:
        """A party as a process; its log beside its settings."""
        home = self._town / party
        log = self._processes.enter_context((home / f"{party}.log").open("ab"))
        process = subprocess.Popen(
            [sys.executable, "-m", "rogatory", party, verb, "--config", f"{party}.toml"],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
        )
        self._processes.callback(stage.end, process)
        return process

    def must(self, holds: object, what: str) -> None:
        """Go on only if it is true."""
        if not holds:
            raise Untrue(f"Not true: {what}. Look into {self.folder}")

    # the chapters

    def keys(self) -> None:
        """The platform's keys, and its two processes."""
        self.title("The platform makes its keys and starts")
        made = self.run(
            "keys", "init", self._town, "--platform", PLATFORM, "--operators", "alice,bob", "--reviewers", "carol,dave",
            "--gateway-url", self._url, "--cost", "interactive", "--json",
        )  # fmt: skip
        self._root = made["root"]
        self.tell(
            "root", f"signed a keyset of gateway, desk, two operators and two reviewers; its key is {self._root[:16]}…"
        )
        self.run("desk", "sample", self._town / "desk")
        self.tell("desk", "has a database of 10,000 invented subscribers")
        gateway = self.start("gateway", "serve")
        with stage.patience("the gateway serves") as waiting:
            while not stage.listens(self._port):
                self.must(gateway.poll() is None, "the gateway runs")
                next(waiting)
        self.tell("gateway", f"serves on {self._url}, process {gateway.pid}; the desk is not started yet")

    def register(self) -> None:
        """An authority counts after two people have heard its words."""
        self.title("An authority registers")
        self._authority("officer", AUTHORITY, "National Police Agency, Cyber Bureau", "KR")
        applied = self.run("authority", "apply", "--home", "officer", "--json")
        words = " ".join(applied["words"])
        self.tell("authority", f"applied as {AUTHORITY}; it is {applied['state']}. By telephone it reads its words:")
        self.look(words)
        alice, bob = (self._town / "operators" / name for name in ("alice", "bob"))
        wrong = " ".join(reversed(words.split()))
        self.run(
            "gateway",
            "authorities",
            "confirm",
            AUTHORITY,
            "--line",
            LINE,
            "--words",
            wrong,
            "--as",
            alice,
            fails="words-wrong",
        )
        self.tell("alice", "typed other words than those of the application: refused, nothing was signed")
        state = self._confirm(AUTHORITY, alice, words)
        self.tell("alice", f"typed the words that she heard: they are those of the application. It is {state}")
        self.run(
            "gateway",
            "authorities",
            "confirm",
            AUTHORITY,
            "--line",
            LINE,
            "--words",
            words,
            "--as",
            alice,
            fails="impossible",
        )
        self.tell("alice", "confirmed it a second time: refused, another operator must")
        state = self._confirm(AUTHORITY, bob, words)
        self.must(state == "active", "the authority is active")
        self.tell("bob", f"heard and typed them too. It is {state}")

    def ask(self) -> None:
        """A signed request, and the promise for it."""
        self.title("A request")
        asked = self.run(
            "authority", "request", "--home", "officer", "--framework", "eu.e-evidence", "--basis", "Art. 5",
            "--category", "subscriber", "--category", "identification", "--target", f"account:{TARGET}",
            "--facts", FACTS, "--officer", OFFICER, "--json",
        )  # fmt: skip
        self._case, self._receipt = asked["case"], asked["receipt"]
        self.tell("authority", "signed a request; whom it is about is sealed to the platform's desk alone")
        self.tell("gateway", f"took it as case {self._case}, and signed receipt {self._receipt['digest'][:16]}…")
        self.look(f"an answer is owed by {asked['due']} (Regulation (EU) 2023/1543 Art. 10(3): ten days)")

    def blind(self) -> None:
        """What lies in the queue and at the gateway."""
        self.title("What others see of it")
        with stage.patience("the entry is in the queue") as waiting:
            while len(entries := stage.entries(self._town / "channel/queue.db")) < ENTRIES:
                next(waiting)
        largest = max(entries, key=len)
        self.tell("broker", f"holds {len(entries)} entries for the desk. The largest, {len(largest)} bytes, begins")
        for begin in range(0, 96, 32):
            self.look(largest[begin : begin + 32].hex(" ", 4))
        self.must(
            not stage.found([self._town / "channel"], (TARGET, FACTS, OFFICER, AUTHORITY)), "the queue names nobody"
        )
        self.tell("broker", "finds neither authority nor target in them")
        cover = stage.cover(self._town / "gateway/data/gateway.db", self._case)
        self.tell("gateway", "knows the cover:")
        self.look(", ".join(f"{name}: {value}" for name, value in cover.items() if value))
        secrets = (TARGET, FACTS, OFFICER)
        self.must(not stage.found([self._town / "gateway"], secrets), "the gateway does not know the particulars")
        self.tell("gateway", "does not know target, facts or officer: no file of its own holds one of them")

    def review(self) -> None:
        """Two people at the desk."""
        self.title("Inside the platform")
        desk = self.start("desk", "work")
        self.tell("desk", f"started, process {desk.pid}; it checks signatures, registration and receipts itself")
        carol, dave = (self._town / "reviewers" / name for name in ("carol", "dave"))
        with stage.patience("the desk has a draft") as waiting:
            while not (found := self._draft(carol)):
                self.must(desk.poll() is None, "the desk runs")
                next(waiting)
        draft = found["draft"]
        target = found["particulars"]["targets"][0]["value"]
        self.must(target == TARGET, "the desk opened the particulars")
        rows = sum(len(one["rows"]) for one in draft["records"])
        self.tell(
            "desk",
            f"opened the particulars ({target}), asked its database, drafted: {draft['outcome']}, {rows} records",
        )
        approved = ("--draft", draft["digest"], "--json")
        self.run("desk", "approve", self._case, *approved, "--as", carol)
        self.tell("carol", f"read and approved draft {draft['digest'][:16]}…")
        self.run("desk", "approve", self._case, *approved, "--as", carol, fails="impossible")
        self.tell("carol", "approved it again: refused, a second person must")
        self.run("desk", "approve", self._case, *approved, "--as", dave)
        self.tell("dave", "approved the same draft")

    def disclose(self) -> None:
        """The answer comes back, sealed to the requester."""
        self.title("The answer")
        answered = self.run("authority", "wait", self._case, "--home", "officer", "--for", "30", "--json")
        self.must(answered["state"] == "answered", "the case is answered")
        self.tell("authority", f"has the signed decision: {answered['outcome']}, {answered['accounts']} account")
        fetched = self.run("authority", "fetch", self._case, "--home", "officer", "--json")
        self.must(
            fetched["acknowledged"] and fetched["state"] == "closed", "the disclosure was opened and acknowledged"
        )
        self.tell(
            "authority", "fetched it, opened it with its own key, compared it with the decision, acknowledged it:"
        )
        for file in map(Path, fetched["files"]):
            self.look(str(file))
            if file.suffix == ".csv":
                for line in (self.folder / file).read_text().splitlines()[:3]:
                    self.look(f"    {line}")
        self.run("authority", "export", self._case, "--home", "officer", "-o", "case.zip", "--json")
        checked = self.run("verify", "case.zip", "--root", self._root, "--json")
        self.tell("anyone", "checks the case file with no network:")
        for line in checked["checked"]:
            self.look(line)
        stage.bend(self.folder / "case.zip", self.folder / "bent.zip")
        self.run("verify", "bent.zip", "--root", self._root, fails="case-file-wrong")
        self.tell("anyone", "refuses the same file with one bit of it changed")

    def attacks(self) -> None:
        """Three that fail."""
        self.title("Three attacks")
        with zipfile.ZipFile(self.folder / "case.zip") as archive:
            statement = archive.read("case/0001.statement.jws")
            said = claims(b64url_decode(statement.split(b".")[1]), Request)
            sealed = archive.read(f"sealed/{said.particulars.sha256}.age")
        before = stage.rows(self._town / "gateway/data/gateway.db")

        status, code = asyncio.run(self._post(stage.flipped(statement), sealed))
        self.must((status, code) == (401, "signature-invalid"), f"one changed bit is refused ({status} {code})")
        self.tell("attacker", f"changed one bit of the signed request: {status} {code}")

        cover = said.cover.model_copy(update={"subjects": said.cover.subjects + 1})
        other = say(said.model_copy(update={"cover": cover}), self._signing_key())
        status, code = asyncio.run(self._post(other, sealed))
        self.must((status, code) == (409, "jti-reused"), f"a replay under changed content is refused ({status} {code})")
        self.tell("attacker", f"with the stolen key, sent other content under a used id: {status} {code}")

        self._authority("other", OTHER, "Bundeskriminalamt", "DE")
        words = " ".join(self.run("authority", "apply", "--home", "other", "--json")["words"])
        for name in ("alice", "bob"):
            self._confirm(OTHER, self._town / "operators" / name, words)
        self.run("authority", "fetch", self._case, "--home", "other", "--json", fails="not-found")
        self.tell(OTHER, "a registered authority asked for another's disclosure: not-found, as if it did not exist")
        self.must(
            stage.rows(self._town / "gateway/data/gateway.db") == before + 3, "nothing but the registration was stored"
        )

    # pieces

    def _authority(self, home: str, party: str, name: str, country: str) -> None:
        self.run(
            "authority", "init", "--home", home, "--id", party, "--name", name, "--country", country, "--type", "police",
            "--contact", "see the ministry's directory", "--gateway", self._url, "--platform", PLATFORM,
            "--root", self._root, "--cost", "interactive", "--json",
        )  # fmt: skip

    def _confirm(self, party: str, operator: Path, words: str) -> str:
        found = self.run(
            "gateway", "authorities", "confirm", party, "--line", LINE, "--words", words, "--as", operator, "--json"
        )
        return str(found["state"])

    def _draft(self, reviewer: Path) -> dict[str, Any]:
        rows: Sequence[dict[str, str]] = self.run("desk", "cases", "--as", reviewer, "--json")  # type: ignore[assignment]
        if not any(row["case"] == self._case and row["owed"] == "review" for row in rows):
            return {}
        return self.run("desk", "show", self._case, "--as", reviewer, "--json")

    async def _post(self, statement: bytes, sealed: bytes) -> tuple[int, str]:
        """The status and the problem's code that the gateway answers to a request."""
        body = dumps({"statement": statement.decode(), "sealed": base64.b64encode(sealed).decode()})
        async with Http(self._url, lambda _method, _url: None) as http:
            try:
                await http.post_json("/v1/cases", body)
            except Answered as answered:
                return answered.status, answered.code
        return 201, ""

    def _signing_key(self) -> Ed25519Secret:
        home = self.folder / "officer"
        ring = Keyring.open(home / "authority.ring", read_passphrase(home / "authority.passphrase"))
        return next(one.secret for one in ring.held if isinstance(one.secret, Ed25519Secret))
