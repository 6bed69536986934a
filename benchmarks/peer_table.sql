-- keepstream's table without the columns that say where a row came from: what the other contestants write to.
CREATE TABLE events (
    event_id       text COLLATE "C" PRIMARY KEY,
    payload        jsonb       NOT NULL,
    metadata       jsonb,
    status         text        NOT NULL DEFAULT 'delivered' CHECK (status IN ('pending', 'delivered', 'failed')),
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    retry_count    integer     NOT NULL DEFAULT 0,
    correlation_id text
);
CREATE INDEX events_unsettled ON events (created_at) WHERE status <> 'delivered';
