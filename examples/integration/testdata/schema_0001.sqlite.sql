CREATE TABLE idbroker_migrations (
		version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL);

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

CREATE INDEX idbroker_users_email ON idbroker_users (email) WHERE email <> ''
;

CREATE UNIQUE INDEX idbroker_users_own_email ON idbroker_users (email) WHERE email <> '' AND NOT shared_email
;

CREATE INDEX idbroker_users_disabled ON idbroker_users (id) WHERE disabled
;

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

CREATE INDEX idbroker_links_user ON idbroker_links (user_id)
;

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

CREATE INDEX idbroker_sessions_user ON idbroker_sessions (user_id)
;

CREATE INDEX idbroker_sessions_subject ON idbroker_sessions (provider, subject) WHERE provider <> ''
;

CREATE INDEX idbroker_sessions_upstream ON idbroker_sessions (provider, upstream_session) WHERE upstream_session <> ''
;

CREATE INDEX idbroker_sessions_expiry ON idbroker_sessions (expires_at)
;

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

CREATE INDEX idbroker_grants_user ON idbroker_grants (user_id)
;

CREATE INDEX idbroker_grants_client ON idbroker_grants (client_id)
;

CREATE INDEX idbroker_grants_session ON idbroker_grants (session_id) WHERE session_id <> ''
;

CREATE INDEX idbroker_grants_expiry ON idbroker_grants (expires_at)
;

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

CREATE INDEX idbroker_transient_expiry ON idbroker_transient (expires_at)
;

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

CREATE INDEX idbroker_credentials_user ON idbroker_credentials (user_id)
;

CREATE UNIQUE INDEX idbroker_credentials_one ON idbroker_credentials (user_id, kind) WHERE kind <> 'passkey'
;

CREATE TABLE idbroker_fences (
	provider     TEXT   NOT NULL PRIMARY KEY,
	mark         TEXT   NOT NULL,
	issuers      TEXT   NOT NULL,
	confirmed_at BIGINT NOT NULL,
	version      BIGINT NOT NULL
);

INSERT INTO idbroker_clients (id, version, client) VALUES ('c', 1, '{"ID":"c","Name":"App","RedirectURIs":["https://app.example"],"Secrets":["BwA="]}');

INSERT INTO idbroker_credentials (id, user_id, kind, label, secret, step, created_at, last_used, version) VALUES ('cr', 'u', 'password', 'l', X'09', 10, 1767323045000006, 1767323045000006, 1);

INSERT INTO idbroker_fences (provider, mark, issuers, confirmed_at, version) VALUES ('acme', 'm', '["https://acme.example"]', 1767323045000006, 1);

INSERT INTO idbroker_grants (id, kind, client_id, user_id, session_id, scope, nonce, auth_time, acr, amr, provider, issuer, subject, resources, jkt, code_hash, code_expires, code_used, redirect_uri, code_challenge, refresh_hash, previous_hash, grace_until, answer, claims_request, created_at, expires_at, version) VALUES ('g', 'consent', 'c', 'u', 's', '["openid"]', 'n', 1767323045000006, 'acr', '["pwd"]', 'acme', 'https://acme.example', 'it''s "ada" \ ü', '["https://api.example"]', 'jkt', X'03', 1767323045000006, 1, 'https://app.example', 'ch', X'04', X'05', 1767323045000006, X'06', '["userinfo:name"]', 1767323045000006, 32472241445000006, 1);

INSERT INTO idbroker_keys (id, algorithm, generation, private, created_at, not_before) VALUES ('k', 'ES256', 3, X'0800', 1767323045000006, 1767323045000006);

INSERT INTO idbroker_links (provider, issuer, subject, user_id, username, email, tokens, created_at, last_login, version) VALUES ('acme', 'https://acme.example', 'it''s "ada" \ ü', 'u', 'n', 'e', X'00FF27', 1767323045000006, 1767323045000006, 1);

INSERT INTO idbroker_migrations (version, applied_at) VALUES (0, 1767323045000006);

INSERT INTO idbroker_migrations (version, applied_at) VALUES (1, 1767323045000006);

INSERT INTO idbroker_sessions (id, secret_hash, user_id, provider, issuer, subject, upstream_session, upstream_token, upstream_tokens, transient_user, acr, amr, notes, auth_time, created_at, last_seen, expires_at, version) VALUES ('s', X'0100', 'u', 'acme', 'https://acme.example', 'it''s "ada" \ ü', 'us', X'02', X'03', X'04', 'acr', '["pwd"]', '{"k":"v"}', 1767323045000006, 1767323045000006, 1767323045000006, 32472241445000006, 1);

INSERT INTO idbroker_transient (purpose, key, value, expires_at) VALUES ('p', 'k', X'0076', 32472241445000006);

INSERT INTO idbroker_users (id, username, email, email_verified, shared_email, first_name, last_name, name, locale, picture, disabled, roles, groups, attributes, created_at, updated_at, version) VALUES ('u', 'ada', 'ada@example.com', 1, 1, 'Ada', 'L', 'Ada L', 'en', 'https://example.com/a', 1, '["r"]', '["/g"]', '{"k":["v","w"]}', 1767323045000006, 1767323045000006, 1);
