-- What the application has had for years. Nothing here knows of a broker.
CREATE TABLE users (
	id         BIGSERIAL   PRIMARY KEY,
	email      TEXT        NOT NULL,
	full_name  TEXT        NOT NULL,
	is_active  BOOLEAN     NOT NULL DEFAULT TRUE,
	created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
