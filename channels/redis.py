"""The engine for many machines: Redis Streams, on one server, behind Sentinel, or on a Cluster. It wants Redis 6.2 or later.

Each stream has one consumer group. Every verb is one script, which the server runs whole or not at all, so that no entry is
half published or half settled, and any verb may be done again. What waits to be published in one process goes out in one call
at a time and stream. `receive` takes ended leases first (`XAUTOCLAIM`), then what is new, and waits by `XREADGROUP` with a
`BLOCK` far shorter than the socket's time-out, on a client that never tries again by itself.

What `publish` returned from survives the server's death where it has `appendonly yes` and `appendfsync always`, and is lost
where not, or with its disk: a sender keeps what it sends until the other side's answer. Leases are kept by the server's
clock. A group that the server lost is made anew, a dead server is asked again with the next call, and a full stream takes no
more (`full`).
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, cast, final

from channels import ENTRY_ID_BYTES, MAX_DELIVERIES, ChannelError, DeadLetter, Depth, Entry, Lease, checked_name
from channels.redis_line import Address, Line, Row, Script

DEAD_KEPT: Final = 10_000  # ours: the last dead letters of one stream, about
RECEIVE_MAX: Final = 1_000  # ours: leases in one call
BLOCK: Final = 0.5  # seconds of one wait at the server; then ended leases are looked for

_WORKING: Final = 16  # calls at once that put and settle; each has a connection
_WAITING: Final = 64  # calls at once that receive, in turns of at most BLOCK
_ROUND: Final = (1_000, 4 << 20)  # entries and bytes of one call that publishes: the server does nothing else meanwhile
_PREFIX: Final = "rogatory"  # of every key, and the group's name and its one consumer's

# An entry is one field `e` of a stream: its id, then its body. The set of ids says what is there. XADD goes before SADD: should
# anything fail between them, an entry comes twice, and none is taken for one that is there. A set that outlived its stream
# (the broker's owner trimmed it) is dropped. KEYS: stream, ids. ARGV: the most entries, entries. Returns how many are there now.
_PUBLISH: Final = Script("""
local held = redis.call('XLEN', KEYS[1])
if held == 0 then redis.call('DEL', KEYS[2]) end
local room, ids, fresh, taken = tonumber(ARGV[1]) - held, {}, {}, 0
for i = 2, #ARGV do ids[i - 1] = string.sub(ARGV[i], 1, 16) end
local known, seen = redis.call('SMISMEMBER', KEYS[2], unpack(ids)), {}
for i, id in ipairs(ids) do
  if known[i] == 0 and not seen[id] then
    if room <= 0 then break end
    redis.call('XADD', KEYS[1], '*', 'e', ARGV[i + 1])
    seen[id], fresh[#fresh + 1], room = true, id, room - 1
  end
  taken = i
end
if #fresh > 0 then redis.call('SADD', KEYS[2], unpack(fresh)) end
return taken
""")

# Ended leases, oldest first, then what is new. One consumer name serves everybody: a lease is told by its place and its count of
# deliveries, so no dead process leaves a consumer behind. `XAUTOCLAIM … JUSTID` names deleted entries too (Redis 6.2; later ones
# drop them), which are no longer owed. What is dead is removed first: a script that has removed something may add something even
# when the memory is full. KEYS: stream, ids, dead. ARGV: lease in ms, limit, most deliveries, now in ms, dead letters kept.
_TAKE: Final = Script("""
local group, out, left, cursor = 'rogatory', {}, tonumber(ARGV[2]), '0-0'
local function retake(sid)
  local count = redis.call('XPENDING', KEYS[1], group, sid, sid, 1)[1][4]
  local entry = redis.call('XRANGE', KEYS[1], sid, sid)[1]
  if not entry then
    redis.call('XACK', KEYS[1], group, sid)
  elseif count >= tonumber(ARGV[3]) then
    local id = string.sub(entry[2][2], 1, 16)
    redis.call('XACK', KEYS[1], group, sid)
    redis.call('XDEL', KEYS[1], sid)
    redis.call('SREM', KEYS[2], id)
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*',
      'id', id, 'reason', 'deliveries-exhausted', 'deliveries', count, 'at', ARGV[4])
  else
    redis.call('XCLAIM', KEYS[1], group, group, 0, sid, 'RETRYCOUNT', count + 1, 'JUSTID')
    out[#out + 1] = {sid, entry[2][2], count + 1}
    left = left - 1
  end
end
repeat
  local ended = redis.pcall('XAUTOCLAIM', KEYS[1], group, group, ARGV[1], cursor, 'COUNT', left, 'JUSTID')
  if ended.err then
    if not string.find(ended.err, 'NOGROUP', 1, true) then return ended end
    redis.call('XGROUP', 'CREATE', KEYS[1], group, '0', 'MKSTREAM')
    break
  end
  for _, sid in ipairs(ended[2]) do retake(sid) end
  cursor = ended[1]
until cursor == '0-0' or left == 0
if left > 0 then
  local fresh = redis.call('XREADGROUP', 'GROUP', group, group, 'COUNT', left, 'STREAMS', KEYS[1], '>')
  if fresh then
    for _, entry in ipairs(fresh[1][2]) do out[#out + 1] = {entry[1], entry[2][2], 1} end
  end
end
return out
""")

# Remove what is still lent as the caller has it: the same place, the same count of deliveries. Where a reason is given it goes to
# the dead letters. KEYS: stream, ids, dead. ARGV: reason or nothing, now in ms, dead letters kept; place, deliveries, id …
_SETTLE: Final = Script("""
local group, counts, sids, ids = 'rogatory', {}, {}, {}
local lent = redis.pcall('XPENDING', KEYS[1], group, ARGV[4], ARGV[#ARGV - 2], (#ARGV - 3) / 3)
if lent.err then
  return string.find(lent.err, 'NOGROUP', 1, true) and 0 or lent
end
for _, one in ipairs(lent) do counts[one[1]] = one[4] end
for i = 4, #ARGV, 3 do
  local sid = ARGV[i]
  if counts[sid] == nil then
    local one = redis.call('XPENDING', KEYS[1], group, sid, sid, 1)[1]
    counts[sid] = one and one[4] or 0
  end
  if counts[sid] == tonumber(ARGV[i + 1]) then
    counts[sid], sids[#sids + 1], ids[#ids + 1] = 0, sid, ARGV[i + 2]
  end
end
if #sids == 0 then return 0 end
redis.call('XACK', KEYS[1], group, unpack(sids))
redis.call('XDEL', KEYS[1], unpack(sids))
redis.call('SREM', KEYS[2], unpack(ids))
if ARGV[1] ~= '' then
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*',
    'id', ARGV[6], 'reason', ARGV[1], 'deliveries', ARGV[5], 'at', ARGV[2])
end
return #sids
""")

# KEYS: stream, ids, dead.
_DEPTH: Final = Script("""
local lent = redis.pcall('XPENDING', KEYS[1], 'rogatory')
if lent.err then
  if not string.find(lent.err, 'NOGROUP', 1, true) then return lent end
  lent = {0}
end
return {redis.call('XLEN', KEYS[1]), lent[1], redis.call('XLEN', KEYS[3])}
""")


@final
class RedisChannel:
    """`Channel` over Redis. It connects when it is used: a server that is away is no reason not to start.

    Raises `ChannelError` for an address it cannot read and for a password's file that is not there or open to others.
    """

    def __init__(
        self,
        address: Address,
        clock: Callable[[], datetime],
        max_deliveries: int = MAX_DELIVERIES,
    ) -> None:
        self._clock = clock
        self._max_deliveries = max_deliveries
        self._depth = address.depth
        self._working = Line(address, _WORKING, retries=1)
        self._waiting = Line(address, _WAITING, retries=0)
        self._pumps: dict[str, _Pump] = {}

    async def publish(self, stream: str, entries: Sequence[Entry]) -> None:
        """See `Channel.publish`. `full` when the stream holds as much as it may; what fitted in is there then."""
        keys = _keys(stream)
        self._working.check()

        async def _send(values: Sequence[bytes]) -> int:
            return cast("int", await self._working.run(_PUBLISH, keys, self._depth, *values))

        pump = self._pumps.setdefault(stream, _Pump(_send))
        for piece in _pieces(entries):
            await pump.publish(piece)

    async def receive(self, stream: str, *, limit: int, lease: timedelta, wait: timedelta) -> list[Lease]:
        """See `Channel.receive`. `limit` is 1 to 1,000, `lease` at least a millisecond (flaw `receive-limits`).

        An entry that is none of ours goes to the dead letters (`entry-form`), under the id of zeros.
        """
        keys = _keys(stream)
        if not 1 <= limit <= RECEIVE_MAX or lease < timedelta(milliseconds=1):
            raise ChannelError("receive-limits")
        loop = asyncio.get_running_loop()
        end = loop.time() + wait.total_seconds()
        while True:
            rows = await self._waiting.run(
                _TAKE,
                keys,
                math.ceil(lease / timedelta(milliseconds=1)),
                limit,
                self._max_deliveries,
                _milliseconds(self._clock()),
                DEAD_KEPT,
            )
            if leases := await self._leases(stream, cast("list[Row]", rows)):
                return leases
            left = end - loop.time()
            if left <= 0:
                return []
            if leases := await self._leases(
                stream, await self._waiting.next(keys[0], _PREFIX, limit, min(left, BLOCK))
            ):
                return leases

    async def ack(self, leases: Sequence[Lease]) -> None:
        """See `Channel.ack`."""
        self._working.check()
        streams = defaultdict[str, list[Lease]](list)
        for lease in leases:
            streams[lease.stream].append(lease)
        for stream, held in streams.items():
            for start in range(0, len(held), RECEIVE_MAX):
                await self._settle(stream, held[start : start + RECEIVE_MAX], "")

    async def reject(self, lease: Lease, reason: str) -> None:
        """See `Channel.reject`."""
        await self._settle(lease.stream, [lease], checked_name(reason, "reason"))

    async def dead(self, stream: str, limit: int) -> list[DeadLetter]:
        """See `Channel.dead`. Some 10,000 are kept."""
        rows = await self._working.command("XREVRANGE", _keys(stream)[2], "+", "-", "COUNT", limit)
        return [
            DeadLetter(
                letter[b"id"],
                letter[b"reason"].decode(),
                int(letter[b"deliveries"]),
                datetime.fromtimestamp(int(letter[b"at"]) / 1000, UTC),
            )
            for _, letter in cast("list[tuple[bytes, dict[bytes, bytes]]]", rows)
        ]

    async def depth(self, stream: str) -> Depth:
        """See `Channel.depth`. Three counters: it costs nothing."""
        held, leased, dead = cast("list[int]", await self._working.run(_DEPTH, _keys(stream)))
        return Depth(max(0, held - leased), leased, dead)  # what the broker's owner deleted may be lent still

    async def close(self) -> None:
        """See `Channel.close`. A receiver that waits at the server is waited for: half a second at the most."""
        await asyncio.gather(self._working.close(), self._waiting.close())

    async def _settle(self, stream: str, leases: Sequence[Lease], reason: str) -> None:
        held = [part for lease in leases for part in (lease.token, lease.deliveries, lease.entry.id)]
        await self._working.run(_SETTLE, _keys(stream), reason, _milliseconds(self._clock()), DEAD_KEPT, *held)

    async def _leases(self, stream: str, rows: Sequence[Row]) -> list[Lease]:
        leases = []
        for place, value, deliveries in rows:
            try:
                entry = Entry(value[:ENTRY_ID_BYTES], value[ENTRY_ID_BYTES:])
            except ChannelError:  # not put there by a channel: too short or too long
                nameless = Lease(Entry(bytes(ENTRY_ID_BYTES), b""), deliveries, stream, place.decode())
                await self.reject(nameless, "entry-form")
            else:
                leases.append(Lease(entry, deliveries, stream, place.decode()))
        return leases


@final
@dataclass(slots=True, eq=False)
class _Piece:
    """What one caller wants published in one go, and what became of it."""

    values: list[bytes]
    size: int
    settled: bool = False
    error: ChannelError | None = None


@final
class _Pump:
    """What waits to be published in one stream. One call is under way; what comes meanwhile goes out together with the next.

    There is no task: whoever has the turn sends for all that wait, and the others find it done. Should he leave in the
    middle, the next sends the same again, which is harmless.
    """

    def __init__(self, send: Callable[[Sequence[bytes]], Awaitable[int]]) -> None:
        self._send = send
        self._waiting: list[_Piece] = []
        self._turn = asyncio.Lock()

    async def publish(self, piece: _Piece) -> None:
        """Wait until `piece` is there. Raises `ChannelError`."""
        self._waiting.append(piece)
        try:
            async with self._turn:
                while not piece.settled:
                    await self._round()
        finally:
            if not piece.settled:
                self._waiting.remove(piece)
        if piece.error is not None:
            raise ChannelError(piece.error.flaw) from piece.error

    async def _round(self) -> None:
        batch = self._batch()
        try:
            taken = await self._send([value for piece in batch for value in piece.values])
        except ChannelError as error:
            for piece in batch:
                piece.settled, piece.error = True, error
        else:
            for piece in batch:
                taken -= len(piece.values)
                piece.settled, piece.error = True, ChannelError("full") if taken < 0 else None
        self._waiting = [piece for piece in self._waiting if not piece.settled]

    def _batch(self) -> list[_Piece]:
        """The oldest that wait, as many as one call may carry; always one."""
        entries, size = _ROUND
        batch: list[_Piece] = []
        for piece in self._waiting:
            entries -= len(piece.values)
            size -= piece.size
            if batch and (entries < 0 or size < 0):
                break
            batch.append(piece)
        return batch


def _pieces(entries: Sequence[Entry]) -> Iterator[_Piece]:
    """`entries` in pieces, none of which is more than one call may carry (but for one entry, which always may)."""
    piece = _Piece([], 0)
    for entry in entries:
        if piece.values and (len(piece.values) == _ROUND[0] or piece.size + len(entry.body) > _ROUND[1]):
            yield piece
            piece = _Piece([], 0)
        piece.values.append(entry.id + entry.body)
        piece.size += len(entry.body)
    if piece.values:
        yield piece


def _keys(stream: str) -> tuple[str, str, str]:
    """Stream, ids and dead letters of one stream; the braces keep them in one slot of a Cluster. Raises `ChannelError`."""
    key = f"{_PREFIX}:{{{checked_name(stream, 'stream-name')}}}"
    return key, f"{key}:ids", f"{key}:dead"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
