CREATE TABLE idbroker_clients (
    id text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    client text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE idbroker_credentials (
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    label text NOT NULL COLLATE pg_catalog."C",
    secret bytea,
    step bigint NOT NULL,
    created_at bigint NOT NULL,
    last_used bigint NOT NULL,
    version bigint NOT NULL
);

CREATE TABLE idbroker_fences (
    provider text NOT NULL COLLATE pg_catalog."C",
    mark text NOT NULL COLLATE pg_catalog."C",
    issuers text NOT NULL COLLATE pg_catalog."C",
    confirmed_at bigint NOT NULL,
    version bigint NOT NULL
);

CREATE TABLE idbroker_grants (
    id text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    client_id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    session_id text NOT NULL COLLATE pg_catalog."C",
    scope text NOT NULL COLLATE pg_catalog."C",
    nonce text NOT NULL COLLATE pg_catalog."C",
    auth_time bigint NOT NULL,
    acr text NOT NULL COLLATE pg_catalog."C",
    amr text NOT NULL COLLATE pg_catalog."C",
    provider text NOT NULL COLLATE pg_catalog."C",
    issuer text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL COLLATE pg_catalog."C",
    resources text NOT NULL COLLATE pg_catalog."C",
    jkt text NOT NULL COLLATE pg_catalog."C",
    code_hash bytea,
    code_expires bigint NOT NULL,
    code_used boolean NOT NULL,
    redirect_uri text NOT NULL COLLATE pg_catalog."C",
    code_challenge text NOT NULL COLLATE pg_catalog."C",
    refresh_hash bytea,
    previous_hash bytea,
    grace_until bigint NOT NULL,
    answer bytea,
    claims_request text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    version bigint NOT NULL
);

CREATE TABLE idbroker_keys (
    id text NOT NULL COLLATE pg_catalog."C",
    algorithm text NOT NULL COLLATE pg_catalog."C",
    generation bigint NOT NULL,
    private bytea,
    created_at bigint NOT NULL,
    not_before bigint NOT NULL
);

CREATE TABLE idbroker_links (
    provider text NOT NULL COLLATE pg_catalog."C",
    issuer text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    username text NOT NULL COLLATE pg_catalog."C",
    email text NOT NULL COLLATE pg_catalog."C",
    tokens bytea,
    created_at bigint NOT NULL,
    last_login bigint NOT NULL,
    version bigint NOT NULL
);

CREATE TABLE idbroker_locks (
    name text NOT NULL COLLATE pg_catalog."C",
    taken bigint NOT NULL
);

CREATE TABLE idbroker_migrations (
    version bigint NOT NULL,
    applied_at bigint NOT NULL
);

CREATE TABLE idbroker_sessions (
    id text NOT NULL COLLATE pg_catalog."C",
    secret_hash bytea,
    user_id text NOT NULL COLLATE pg_catalog."C",
    provider text NOT NULL COLLATE pg_catalog."C",
    issuer text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL COLLATE pg_catalog."C",
    upstream_session text NOT NULL COLLATE pg_catalog."C",
    upstream_token bytea,
    upstream_tokens bytea,
    transient_user bytea,
    acr text NOT NULL COLLATE pg_catalog."C",
    amr text NOT NULL COLLATE pg_catalog."C",
    notes text NOT NULL COLLATE pg_catalog."C",
    auth_time bigint NOT NULL,
    created_at bigint NOT NULL,
    last_seen bigint NOT NULL,
    expires_at bigint NOT NULL,
    version bigint NOT NULL
);

CREATE TABLE idbroker_transient (
    purpose text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    value bytea,
    expires_at bigint NOT NULL
);

CREATE TABLE idbroker_users (
    id text NOT NULL COLLATE pg_catalog."C",
    username text NOT NULL COLLATE pg_catalog."C",
    email text NOT NULL COLLATE pg_catalog."C",
    email_verified boolean NOT NULL,
    shared_email boolean NOT NULL,
    first_name text NOT NULL COLLATE pg_catalog."C",
    last_name text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    locale text NOT NULL COLLATE pg_catalog."C",
    picture text NOT NULL COLLATE pg_catalog."C",
    disabled boolean NOT NULL,
    roles text NOT NULL COLLATE pg_catalog."C",
    groups text NOT NULL COLLATE pg_catalog."C",
    attributes text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    version bigint NOT NULL
);

INSERT INTO idbroker_clients (id, version, client) VALUES ('c', 1, '{"ID":"c","Name":"App","RedirectURIs":["https://app.example"],"Secrets":["BwA="]}');

INSERT INTO idbroker_credentials (id, user_id, kind, label, secret, step, created_at, last_used, version) VALUES ('cr', 'u', 'password', 'l', '\x09', 10, 1767323045000006, 1767323045000006, 1);

INSERT INTO idbroker_fences (provider, mark, issuers, confirmed_at, version) VALUES ('acme', 'm', '["https://acme.example"]', 1767323045000006, 1);

INSERT INTO idbroker_grants (id, kind, client_id, user_id, session_id, scope, nonce, auth_time, acr, amr, provider, issuer, subject, resources, jkt, code_hash, code_expires, code_used, redirect_uri, code_challenge, refresh_hash, previous_hash, grace_until, answer, claims_request, created_at, expires_at, version) VALUES ('g', 'consent', 'c', 'u', 's', '["openid"]', 'n', 1767323045000006, 'acr', '["pwd"]', 'acme', 'https://acme.example', 'it''s "ada" \ ü', '["https://api.example"]', 'jkt', '\x03', 1767323045000006, true, 'https://app.example', 'ch', '\x04', '\x05', 1767323045000006, '\x06', '["userinfo:name"]', 1767323045000006, 32472241445000006, 1);

INSERT INTO idbroker_keys (id, algorithm, generation, private, created_at, not_before) VALUES ('k', 'ES256', 3, '\x0800', 1767323045000006, 1767323045000006);

INSERT INTO idbroker_links (provider, issuer, subject, user_id, username, email, tokens, created_at, last_login, version) VALUES ('acme', 'https://acme.example', 'it''s "ada" \ ü', 'u', 'n', 'e', '\x00ff27', 1767323045000006, 1767323045000006, 1);

INSERT INTO idbroker_locks (name, taken) VALUES ('email fd2', 1);

INSERT INTO idbroker_migrations (version, applied_at) VALUES (0, 1767323045000006);
INSERT INTO idbroker_migrations (version, applied_at) VALUES (1, 1767323045000006);

INSERT INTO idbroker_sessions (id, secret_hash, user_id, provider, issuer, subject, upstream_session, upstream_token, upstream_tokens, transient_user, acr, amr, notes, auth_time, created_at, last_seen, expires_at, version) VALUES ('s', '\x0100', 'u', 'acme', 'https://acme.example', 'it''s "ada" \ ü', 'us', '\x02', '\x03', '\x04', 'acr', '["pwd"]', '{"k":"v"}', 1767323045000006, 1767323045000006, 1767323045000006, 32472241445000006, 1);

INSERT INTO idbroker_transient (purpose, key, value, expires_at) VALUES ('p', 'k', '\x0076', 32472241445000006);

INSERT INTO idbroker_users (id, username, email, email_verified, shared_email, first_name, last_name, name, locale, picture, disabled, roles, groups, attributes, created_at, updated_at, version) VALUES ('u', 'ada', 'ada@example.com', true, true, 'Ada', 'L', 'Ada L', 'en', 'https://example.com/a', true, '["r"]', '["/g"]', '{"k":["v","w"]}', 1767323045000006, 1767323045000006, 1);

ALTER TABLE ONLY idbroker_clients
    ADD CONSTRAINT idbroker_clients_pkey PRIMARY KEY (id);

ALTER TABLE ONLY idbroker_credentials
    ADD CONSTRAINT idbroker_credentials_pkey PRIMARY KEY (id);

ALTER TABLE ONLY idbroker_fences
    ADD CONSTRAINT idbroker_fences_pkey PRIMARY KEY (provider);

ALTER TABLE ONLY idbroker_grants
    ADD CONSTRAINT idbroker_grants_pkey PRIMARY KEY (id);

ALTER TABLE ONLY idbroker_keys
    ADD CONSTRAINT idbroker_keys_algorithm_generation_key UNIQUE (algorithm, generation);

ALTER TABLE ONLY idbroker_keys
    ADD CONSTRAINT idbroker_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY idbroker_links
    ADD CONSTRAINT idbroker_links_pkey PRIMARY KEY (provider, issuer, subject);

ALTER TABLE ONLY idbroker_locks
    ADD CONSTRAINT idbroker_locks_pkey PRIMARY KEY (name);

ALTER TABLE ONLY idbroker_migrations
    ADD CONSTRAINT idbroker_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY idbroker_sessions
    ADD CONSTRAINT idbroker_sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY idbroker_transient
    ADD CONSTRAINT idbroker_transient_pkey PRIMARY KEY (purpose, key);

ALTER TABLE ONLY idbroker_users
    ADD CONSTRAINT idbroker_users_pkey PRIMARY KEY (id);

ALTER TABLE ONLY idbroker_users
    ADD CONSTRAINT idbroker_users_username_key UNIQUE (username);

CREATE UNIQUE INDEX idbroker_credentials_one ON idbroker_credentials USING btree (user_id, kind) WHERE (kind <> 'passkey'::text);

CREATE INDEX idbroker_credentials_user ON idbroker_credentials USING btree (user_id);

CREATE INDEX idbroker_grants_client ON idbroker_grants USING btree (client_id);

CREATE INDEX idbroker_grants_expiry ON idbroker_grants USING btree (expires_at);

CREATE INDEX idbroker_grants_session ON idbroker_grants USING btree (session_id) WHERE (session_id <> ''::text);

CREATE INDEX idbroker_grants_user ON idbroker_grants USING btree (user_id);

CREATE INDEX idbroker_links_user ON idbroker_links USING btree (user_id);

CREATE INDEX idbroker_sessions_expiry ON idbroker_sessions USING btree (expires_at);

CREATE INDEX idbroker_sessions_subject ON idbroker_sessions USING btree (provider, subject) WHERE (provider <> ''::text);

CREATE INDEX idbroker_sessions_upstream ON idbroker_sessions USING btree (provider, upstream_session) WHERE (upstream_session <> ''::text);

CREATE INDEX idbroker_sessions_user ON idbroker_sessions USING btree (user_id);

CREATE INDEX idbroker_transient_expiry ON idbroker_transient USING btree (expires_at);

CREATE INDEX idbroker_users_disabled ON idbroker_users USING btree (id) WHERE disabled;

CREATE INDEX idbroker_users_email ON idbroker_users USING btree (email) WHERE (email <> ''::text);

CREATE UNIQUE INDEX idbroker_users_own_email ON idbroker_users USING btree (email) WHERE ((email <> ''::text) AND (NOT shared_email));
