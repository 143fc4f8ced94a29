-- Types are those that SQLite and PostgreSQL share: SQLite takes any name for a type and keeps a BYTEA as the blob it is.
-- TEXT is compared byte for byte (see dialect).
-- Times are microseconds since 1970 in UTC. Lists and maps are JSON, '' if empty. There are no foreign keys: users may
-- live in a table of the host.

CREATE TABLE idbroker_users (
	id             TEXT    NOT NULL PRIMARY KEY,
	username       TEXT    NOT NULL UNIQUE,
	email          TEXT    NOT NULL,
	email_verified BOOLEAN NOT NULL,
	shared_email   BOOLEAN NOT NULL,
	first_name     TEXT    NOT NULL,
	last_name      TEXT    NOT NULL,
	name           TEXT    NOT NULL,
	locale         TEXT    NOT NULL,
	picture        TEXT    NOT NULL,
	disabled       BOOLEAN NOT NULL,
	roles          TEXT    NOT NULL,
	groups         TEXT    NOT NULL,
	attributes     TEXT    NOT NULL,
	created_at     BIGINT  NOT NULL,
	updated_at     BIGINT  NOT NULL,
	version        BIGINT  NOT NULL
);

CREATE INDEX idbroker_users_email ON idbroker_users (email) WHERE email <> '';

CREATE UNIQUE INDEX idbroker_users_own_email ON idbroker_users (email) WHERE email <> '' AND NOT shared_email;

CREATE INDEX idbroker_users_disabled ON idbroker_users (id) WHERE disabled;

-- Rows to hold: see sqlLock.
CREATE TABLE idbroker_locks (
	name  TEXT   NOT NULL PRIMARY KEY,
	taken BIGINT NOT NULL
);

CREATE TABLE idbroker_links (
	provider   TEXT   NOT NULL,
	issuer     TEXT   NOT NULL,
	subject    TEXT   NOT NULL,
	user_id    TEXT   NOT NULL,
	username   TEXT   NOT NULL,
	email      TEXT   NOT NULL,
	tokens     BYTEA,
	created_at BIGINT NOT NULL,
	last_login BIGINT NOT NULL,
	version    BIGINT NOT NULL,
	PRIMARY KEY (provider, issuer, subject)
);

CREATE INDEX idbroker_links_user ON idbroker_links (user_id);

CREATE TABLE idbroker_sessions (
	id               TEXT   NOT NULL PRIMARY KEY,
	secret_hash      BYTEA,
	user_id          TEXT   NOT NULL,
	provider         TEXT   NOT NULL,
	issuer           TEXT   NOT NULL,
	subject          TEXT   NOT NULL,
	upstream_session TEXT   NOT NULL,
	upstream_token   BYTEA,
	upstream_tokens  BYTEA,
	transient_user   BYTEA,
	acr              TEXT   NOT NULL,
	amr              TEXT   NOT NULL,
	notes            TEXT   NOT NULL,
	auth_time        BIGINT NOT NULL,
	created_at       BIGINT NOT NULL,
	last_seen        BIGINT NOT NULL,
	expires_at       BIGINT NOT NULL,
	version          BIGINT NOT NULL
);

CREATE INDEX idbroker_sessions_user ON idbroker_sessions (user_id);

CREATE INDEX idbroker_sessions_subject ON idbroker_sessions (provider, subject) WHERE provider <> '';

CREATE INDEX idbroker_sessions_upstream ON idbroker_sessions (provider, upstream_session) WHERE upstream_session <> '';

CREATE INDEX idbroker_sessions_expiry ON idbroker_sessions (expires_at);

CREATE TABLE idbroker_grants (
	id             TEXT    NOT NULL PRIMARY KEY,
	kind           TEXT    NOT NULL,
	client_id      TEXT    NOT NULL,
	user_id        TEXT    NOT NULL,
	session_id     TEXT    NOT NULL,
	scope          TEXT    NOT NULL,
	nonce          TEXT    NOT NULL,
	auth_time      BIGINT  NOT NULL,
	acr            TEXT    NOT NULL,
	amr            TEXT    NOT NULL,
	provider       TEXT    NOT NULL,
	issuer         TEXT    NOT NULL,
	subject        TEXT    NOT NULL,
	resources      TEXT    NOT NULL,
	jkt            TEXT    NOT NULL,
	code_hash      BYTEA,
	code_expires   BIGINT  NOT NULL,
	code_used      BOOLEAN NOT NULL,
	redirect_uri   TEXT    NOT NULL,
	code_challenge TEXT    NOT NULL,
	refresh_hash   BYTEA,
	previous_hash  BYTEA,
	grace_until    BIGINT  NOT NULL,
	answer         BYTEA,
	claims_request TEXT    NOT NULL,
	created_at     BIGINT  NOT NULL,
	expires_at     BIGINT  NOT NULL,
	version        BIGINT  NOT NULL
);

CREATE INDEX idbroker_grants_user ON idbroker_grants (user_id);

CREATE INDEX idbroker_grants_client ON idbroker_grants (client_id);

CREATE INDEX idbroker_grants_session ON idbroker_grants (session_id) WHERE session_id <> '';

CREATE INDEX idbroker_grants_expiry ON idbroker_grants (expires_at);

CREATE TABLE idbroker_clients (
	id      TEXT   NOT NULL PRIMARY KEY,
	version BIGINT NOT NULL,
	client  TEXT   NOT NULL
);

CREATE TABLE idbroker_transient (
	purpose    TEXT   NOT NULL,
	key        TEXT   NOT NULL,
	value      BYTEA,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (purpose, key)
);

CREATE INDEX idbroker_transient_expiry ON idbroker_transient (expires_at);

CREATE TABLE idbroker_keys (
	id         TEXT   NOT NULL PRIMARY KEY,
	algorithm  TEXT   NOT NULL,
	generation BIGINT NOT NULL,
	private    BYTEA,
	created_at BIGINT NOT NULL,
	not_before BIGINT NOT NULL,
	UNIQUE (algorithm, generation)
);

CREATE TABLE idbroker_credentials (
	id         TEXT   NOT NULL PRIMARY KEY,
	user_id    TEXT   NOT NULL,
	kind       TEXT   NOT NULL,
	label      TEXT   NOT NULL,
	secret     BYTEA,
	step       BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	last_used  BIGINT NOT NULL,
	version    BIGINT NOT NULL
);

CREATE INDEX idbroker_credentials_user ON idbroker_credentials (user_id);

CREATE UNIQUE INDEX idbroker_credentials_one ON idbroker_credentials (user_id, kind) WHERE kind <> 'passkey';

CREATE TABLE idbroker_fences (
	provider     TEXT   NOT NULL PRIMARY KEY,
	mark         TEXT   NOT NULL,
	issuers      TEXT   NOT NULL,
	confirmed_at BIGINT NOT NULL,
	version      BIGINT NOT NULL
);
