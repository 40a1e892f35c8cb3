from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from crypto.errors import CryptoError
from crypto.keyring import Cost, Held, Keyring, SealingSecret, Secret, Status
from crypto.keys import Ed25519Secret, X25519Secret
from crypto.sealing import generate_identity
from desk import app
from desk.app import open_desk
from desk.records import StoreError
from desk.worker import Loop
from protocol.cases import State
from protocol.problems import Refused
from protocol.terms import Role
from tests.actors import PASSPHRASE
from tests.desks import House


def with_keyset(house: House, tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "keyset.jws"
    path.write_bytes(raw)
    house.settings = house.settings.model_copy(update={"keyset": path})


def test_the_highest_keyset_is_kept_and_a_lower_one_refused(house: House, tmp_path: Path) -> None:
    newer = house.platform.sign_keyset(2)
    with_keyset(house, tmp_path, newer)
    desk = open_desk(house.settings, house.now)
    assert desk.keyset.version == 2
    desk.store.close()
    for raw in (house.platform.sign_keyset(1), house.platform.sign_keyset(2)):  # older; another of the same version
        with_keyset(house, tmp_path, raw)
        with pytest.raises(Refused) as refused:
            open_desk(house.settings, house.now)
        assert refused.value.code == "keyset-wrong"
    with_keyset(house, tmp_path, newer)
    open_desk(house.settings, house.now).store.close()


def test_a_keyset_of_another_root_or_past_its_end_is_refused(house: House, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        open_desk(house.settings, house.now + timedelta(days=500))
    root = tmp_path / "root.jwk"
    root.write_text(json.dumps(Ed25519Secret.generate().public.jwk()))
    house.settings = house.settings.model_copy(update={"root": root})
    with pytest.raises(Refused):
        open_desk(house.settings, house.now)


def test_a_signing_key_that_the_root_did_not_name_stops_the_desk(house: House, tmp_path: Path) -> None:
    path = tmp_path / "ring" / "desk.ring"
    strange = Ed25519Secret.generate()
    for number, secret in enumerate((strange, house.platform.alice.secret)):
        Keyring.create(path.with_suffix(f".{number}"), PASSPHRASE, [_held(secret)], cost=Cost.INTERACTIVE)
        house.settings = house.settings.model_copy(update={"ring": path.with_suffix(f".{number}")})
        with pytest.raises(CryptoError, match="signing-key-not-in-keyset"):
            open_desk(house.settings, house.now)


def _held(secret: Secret, role: Role = Role.DESK, epoch: int = 0) -> Held:
    return Held(role, epoch, Status.CURRENT if epoch == 0 else Status.PREVIOUS, 1, secret)


def test_a_turned_sealing_key_still_opens_and_drafts_go_to_the_current_one(house: House, tmp_path: Path) -> None:
    current, previous = SealingSecret(generate_identity()), SealingSecret(house.platform.desk.identity)
    held = [
        _held(house.platform.desk.secret),
        _held(current, Role.DESK_SEALING),
        _held(previous, Role.DESK_SEALING, 1),
        _held(house.platform.desk.queue, Role.DESK_QUEUE),
    ]
    path = tmp_path / "ring" / "desk.ring"
    Keyring.create(path, PASSPHRASE, held, cost=Cost.INTERACTIVE)
    desk = open_desk(house.settings.model_copy(update={"ring": path}), house.now)
    assert desk.keys.identities == [current.identity, previous.identity]
    assert desk.keys.recipient == current.recipient
    assert desk.boxes() == [house.platform.desk.queue]
    assert current.identity not in repr(desk.keys)
    desk.store.close()


@pytest.mark.parametrize("role", [Role.DESK, Role.DESK_SEALING])
def test_a_ring_with_another_kind_of_key_is_the_programmer_s_error(house: House, tmp_path: Path, role: Role) -> None:
    secrets: dict[Role, Secret] = {Role.DESK: house.platform.desk.secret, role: X25519Secret.generate()}
    path = tmp_path / "ring" / "desk.ring"
    ring = Keyring.create(path, PASSPHRASE, [_held(one, of) for of, one in secrets.items()], cost=Cost.INTERACTIVE)
    store = house.store()
    desk = app.Desk(house.settings, store, ring, house.platform.keyset)
    with pytest.raises(TypeError):
        _ = (desk.signing(), desk.keys)
    store.close()


async def test_loops_run_until_they_are_stopped_and_finish_what_they_began(house: House) -> None:
    await house.admitted()
    case = await house.request()
    stop = asyncio.Event()
    async with house.worker() as worker, asyncio.TaskGroup() as tasks:
        for one in worker.loops():
            tasks.create_task(worker.run(one, stop))
        while house.chains.case(case).state is not State.IN_REVIEW:
            await asyncio.sleep(0.02)
            await house.hear()
        stop.set()
    assert house.events("desk.stopped")


async def test_a_step_that_fails_is_logged_and_the_loop_goes_on(house: House) -> None:
    stop = asyncio.Event()
    failed: list[bool] = []

    async def step() -> int:
        if not failed:
            failed.append(True)
            raise StoreError("not-read")
        stop.set()
        return 1

    async with house.worker() as worker:
        await worker.run(Loop("look-up", step, timedelta(milliseconds=1)), stop)
    (event,) = house.events("loop.failed")
    assert (event["loop"], event["error"]) == ("look-up", "StoreError")


async def test_what_does_not_open_in_the_queue_is_dead_and_logged(house: House) -> None:
    from channels import Entry  # noqa: PLC0415

    await house.channel.publish("requests.main", [Entry(os.urandom(16), b"no box at all" * 20)])
    async with house.worker() as worker:
        await house.settle(worker)
    assert len(house.events("entry.dead")) == 1


def started(house: House, tmp_path: Path, *more: str) -> subprocess.Popen[bytes]:
    """The desk as a process of its own, on a copy of the platform's settings."""
    text = (house.folder / "desk/desk.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("channel", "data"))]
    lines += [f'channel = "{house.settings.channel}"', f'data = "{house.settings.data}"']
    told = tmp_path / "desk.toml"
    for name in ("desk.ring", "desk.passphrase", "sources.toml", "../public/keyset.jws", "../public/root.jwk"):
        lines = [line.replace(f'"{name}"', f'"{house.folder / "desk" / name}"') for line in lines]
    told.write_text("\n".join(lines))
    return subprocess.Popen(
        [sys.executable, "-m", "rogatory", "desk", "work", "--config", str(told), *more],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


async def test_the_process_ends_orderly_on_sigterm(house: House, tmp_path: Path) -> None:
    process = started(house, tmp_path)
    assert process.stdout is not None
    first = json.loads(await asyncio.to_thread(process.stdout.readline))
    assert first["event"] == "desk.started"
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    rest, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0
    assert json.loads(rest.splitlines()[-1])["event"] == "desk.stopped"
    assert time.monotonic() - begun < 10


async def test_work_once_does_what_there_is_and_ends(house: House, tmp_path: Path) -> None:
    await house.admitted()
    process = started(house, tmp_path, "--once")
    out, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, out
    assert out.count(b"entry.vetted") == 3
    assert len(await house.hear()) == 3


def test_main_configures_logs_and_runs(house: House) -> None:
    """In this process, so that a failure shows where it is."""
    stream = io.StringIO()
    before = os.umask(0o022)
    try:
        app.main(house.settings, stream, once=True)
    finally:
        os.umask(before)
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["desk.started", "desk.stopped"]
