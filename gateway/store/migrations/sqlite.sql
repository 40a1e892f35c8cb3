-- Made by `sqlite_script` of gateway/store/schema.py.
CREATE TABLE acceptances (
	digest BLOB NOT NULL,
	entity TEXT NOT NULL,
	statement BLOB NOT NULL,
	PRIMARY KEY (digest, entity)
)
 WITHOUT ROWID,
 STRICT;
CREATE TABLE authorities (
	id TEXT NOT NULL,
	state TEXT NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID,
 STRICT;
CREATE TABLE blobs (
	digest BLOB NOT NULL,
	size INTEGER NOT NULL,
	owner TEXT NOT NULL,
	at INTEGER NOT NULL,
	chain TEXT,
	entity TEXT,
	fetched INTEGER,
	PRIMARY KEY (digest)
)
 WITHOUT ROWID,
 STRICT;
CREATE TABLE cases (
	id TEXT NOT NULL,
	authority TEXT NOT NULL,
	entity TEXT NOT NULL,
	state TEXT NOT NULL,
	received INTEGER NOT NULL,
	due INTEGER,
	overdue INTEGER NOT NULL,
	steps INTEGER NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID,
 STRICT;
CREATE TABLE leases (
	name TEXT NOT NULL,
	holder TEXT NOT NULL,
	until INTEGER NOT NULL,
	PRIMARY KEY (name)
)
 WITHOUT ROWID,
 STRICT;
CREATE TABLE outbox (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	entity TEXT NOT NULL,
	"row" INTEGER,
	chain TEXT,
	seq INTEGER,
	rejection BLOB,
	next INTEGER NOT NULL,
	attempts INTEGER NOT NULL
)
 STRICT;
CREATE TABLE rows (
	id INTEGER NOT NULL,
	chain TEXT NOT NULL,
	seq INTEGER NOT NULL,
	stage TEXT NOT NULL,
	at INTEGER NOT NULL,
	digest BLOB NOT NULL,
	issuer TEXT,
	jti TEXT,
	statement BLOB,
	sealed BLOB,
	receipt BLOB NOT NULL,
	PRIMARY KEY (id)
)
 STRICT;
CREATE TABLE sealed (
	digest BLOB NOT NULL,
	chain TEXT NOT NULL,
	content BLOB NOT NULL,
	PRIMARY KEY (digest)
)
 STRICT;
CREATE INDEX blobs_chain ON blobs (chain) WHERE chain IS NOT NULL;
CREATE INDEX blobs_orphan ON blobs (at) WHERE chain IS NULL;
CREATE INDEX cases_authority ON cases (authority, id);
CREATE INDEX cases_due ON cases (due) WHERE due IS NOT NULL AND overdue = 0;
CREATE INDEX outbox_chain ON outbox (entity, chain, seq);
CREATE INDEX outbox_next ON outbox (entity, next, id);
CREATE UNIQUE INDEX rows_name ON rows (issuer, jti) WHERE issuer IS NOT NULL;
CREATE UNIQUE INDEX rows_place ON rows (chain, seq);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version VALUES ('0002');
