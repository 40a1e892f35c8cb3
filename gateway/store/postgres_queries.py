"""The PostgreSQL engine's queries: the hot ones as they are sent, the others built from the one truth of the tables.

Text alone: `postgres` sends them. Their parameters stand beside them by number or by name.
"""

from dataclasses import dataclass
from typing import Final, final

from sqlalchemy import BindParameter, Select, bindparam, false, func, select
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from gateway.store import schema as t

# Rows come in order, so that ids rise with the group's order, and of two rows that exclude each other the first is kept. Each
# of the other tables takes only what belongs to a row that was kept; where two rows of the group change one thing, in their order.
APPEND: Final = """
WITH given AS MATERIALIZED (
  SELECT nextval('rows_id_seq') AS id, u.* FROM unnest(
    $1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bytea[], $6::text[], $7::text[], $8::bytea[], $9::bytea[], $10::bytea[]
  ) WITH ORDINALITY AS u (chain, seq, stage, at, digest, issuer, jti, statement, sealed, receipt, n)
), kept AS (
  INSERT INTO rows (id, chain, seq, stage, at, digest, issuer, jti, statement, sealed, receipt)
  SELECT id, chain, seq, stage, at, digest, issuer, jti, statement, sealed, receipt FROM given ORDER BY n
  ON CONFLICT DO NOTHING RETURNING id
), stands AS MATERIALIZED (
  SELECT given.n, given.id, given.chain, given.seq, given.sealed FROM given JOIN kept USING (id)
), cased AS (
  INSERT INTO cases (id, authority, entity, state, received, due, overdue, steps)
  SELECT DISTINCT ON (u.id) u.id, u.authority, u.entity, u.state, u.received, u.due, u.overdue, u.steps FROM unnest(
    $11::bigint[], $12::uuid[], $13::text[], $14::text[], $15::text[], $16::bigint[], $17::bigint[], $18::bool[], $19::bigint[]
  ) AS u (n, id, authority, entity, state, received, due, overdue, steps) JOIN stands USING (n) ORDER BY u.id, u.n DESC
  ON CONFLICT (id) DO UPDATE SET authority = excluded.authority, entity = excluded.entity, state = excluded.state,
    received = excluded.received, due = excluded.due, overdue = excluded.overdue, steps = excluded.steps
), admitted AS (
  INSERT INTO authorities (id, state)
  SELECT DISTINCT ON (stands.chain) stands.chain, u.state
  FROM unnest($20::bigint[], $21::text[]) AS u (n, state) JOIN stands USING (n) ORDER BY stands.chain, u.n DESC
  ON CONFLICT (id) DO UPDATE SET state = excluded.state
), parted AS (
  INSERT INTO sealed (digest, chain, content)
  SELECT stands.sealed, stands.chain, u.content
  FROM unnest($22::bigint[], $23::bytea[]) AS u (n, content) JOIN stands USING (n) ORDER BY n
  ON CONFLICT DO NOTHING
), named AS (
  UPDATE blobs SET chain = named.chain, entity = named.entity FROM (
    SELECT DISTINCT ON (u.digest) u.digest, stands.chain, u.entity
    FROM unnest($24::bigint[], $25::bytea[], $26::text[]) AS u (n, digest, entity) JOIN stands USING (n) ORDER BY u.digest, u.n
  ) AS named WHERE blobs.digest = named.digest AND blobs.chain IS NULL
), told AS (
  INSERT INTO outbox (entity, "row", chain, seq, next, attempts)
  SELECT u.entity, stands.id, stands.chain, stands.seq, 0, 0
  FROM unnest($27::bigint[], $28::text[]) WITH ORDINALITY AS u (n, entity, i) JOIN stands USING (n) ORDER BY u.i
)
SELECT n FROM stands
"""
NAMED: Final = """
SELECT u.n, r.digest, r.chain, r.receipt FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u (issuer, jti, n)
CROSS JOIN LATERAL (SELECT digest, chain, receipt FROM rows WHERE rows.issuer = u.issuer AND rows.jti = u.jti LIMIT 1) AS r
"""
CHAIN: Final = "SELECT receipt, statement FROM rows WHERE chain = $1 ORDER BY seq"
STORED: Final = """
INSERT INTO blobs (digest, size, owner, at) VALUES ($1, $2, $3, $4)
ON CONFLICT (digest) DO UPDATE SET at = excluded.at WHERE blobs.chain IS NULL AND blobs.owner = excluded.owner
"""
LOCKED: Final = "SELECT digest, fetched IS NOT NULL FROM blobs WHERE chain = $1 ORDER BY digest FOR UPDATE"
FETCHED: Final = "UPDATE blobs SET fetched = coalesce(fetched, $1) WHERE digest = $2 AND chain = $3"
FORGOTTEN: Final = "DELETE FROM blobs WHERE digest = ANY($1::bytea[]) AND chain IS NULL"
REJECTED: Final = "INSERT INTO outbox (entity, rejection, next, attempts) VALUES ($1, $2, 0, 0)"
OWED: Final = """
SELECT o.id, r.receipt, r.statement, o.rejection, s.content, o.attempts
FROM (SELECT * FROM outbox WHERE entity = $1 AND next <= $2 ORDER BY next, id LIMIT $3) AS o
LEFT JOIN rows AS r ON r.id = o."row" LEFT JOIN sealed AS s ON s.digest = r.sealed ORDER BY o.id
"""
PUBLISHED: Final = """
WITH gone AS (DELETE FROM outbox WHERE id = ANY($1::bigint[]))
UPDATE outbox SET next = u.next, attempts = least(attempts + 1, 32767)
FROM unnest($2::bigint[], $3::bigint[]) AS u (id, next) WHERE outbox.id = u.id
"""
SETTLED: Final = """
WITH place AS MATERIALIZED (SELECT max(seq) AS seq FROM rows WHERE chain = $2 AND digest = $3), gone AS (
  DELETE FROM outbox USING place WHERE outbox.entity = $1 AND outbox.chain = $2 AND outbox.seq <= place.seq
)
SELECT seq FROM place WHERE seq IS NOT NULL
"""
ACCEPTED: Final = """
INSERT INTO acceptances (digest, entity, statement) VALUES ($1, $2, $3)
ON CONFLICT (digest, entity) DO UPDATE SET statement = excluded.statement
"""
# What another holds is seen without writing: most calls of most processes end there.
LEASED: Final = """
WITH now AS MATERIALIZED (SELECT coalesce($4::bigint, floor(extract(epoch FROM clock_timestamp()))::bigint) AS at)
INSERT INTO leases (name, holder, until) SELECT $1, $2, now.at + $3::bigint FROM now
WHERE NOT EXISTS (SELECT FROM leases WHERE name = $1 AND holder <> $2 AND until > now.at)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE leases.holder = excluded.holder OR leases.until <= (SELECT at FROM now)
RETURNING holder
"""
RELEASED: Final = "DELETE FROM leases WHERE holder = $1"


@final
@dataclass(frozen=True, slots=True)
class Query:
    """A read compiled from the schema, and the order of its parameters."""

    sql: str
    names: tuple[str, ...]


def query(statement: Select[*tuple[object, ...]]) -> Query:
    compiled = statement.compile(dialect=dialects.dialect())  # type: ignore[no-untyped-call]
    return Query(str(compiled), tuple(compiled.positiontup or ()))


CASE: Final = (
    t.cases.c.id,
    t.cases.c.authority,
    t.cases.c.entity,
    t.cases.c.state,
    t.cases.c.received,
    t.cases.c.due,
    t.cases.c.overdue,
    t.cases.c.steps,
)
LIMIT: Final[BindParameter[int]] = bindparam("limit")
AUTHORITIES: Final = query(select(t.authorities.c.id).order_by(t.authorities.c.id))
OWNER: Final = query(select(t.cases.c.authority).where(t.cases.c.id == bindparam("case")))
CASES: Final = query(
    select(*CASE)
    .where(t.cases.c.authority == bindparam("authority"), t.cases.c.id > bindparam("after"))
    .order_by(t.cases.c.id)
    .limit(LIMIT)
)
SEALED: Final = query(select(t.sealed.c.content, t.sealed.c.chain).where(t.sealed.c.digest == bindparam("digest")))
BLOB: Final = query(
    select(t.blobs.c.size, t.blobs.c.owner, t.blobs.c.chain, t.blobs.c.entity, t.blobs.c.at).where(
        t.blobs.c.digest == bindparam("digest")
    )
)
ORPHANS: Final = query(
    select(t.blobs.c.digest)
    .where(t.blobs.c.chain.is_(None), t.blobs.c.at < bindparam("before"))
    .order_by(t.blobs.c.at)
    .limit(LIMIT)
)
ACCEPTANCES: Final = query(select(t.acceptances.c.statement).where(t.acceptances.c.digest == bindparam("digest")))
OVERDUE: Final = query(
    select(*CASE)
    .where(t.cases.c.due.is_not(None), t.cases.c.overdue == false(), t.cases.c.due <= bindparam("now"))
    .order_by(t.cases.c.due)
    .limit(LIMIT)
)
COUNTS: Final = {
    table.name: query(select(func.count()).select_from(table))
    for table in (t.rows, t.authorities, t.cases, t.sealed, t.blobs, t.outbox, t.acceptances)
}
