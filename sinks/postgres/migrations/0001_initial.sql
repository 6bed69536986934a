-- One row per event. event_id compares by bytes ("C"): no locale rules on the hot path, and one order for every writer.
CREATE TABLE events (
    event_id         text COLLATE "C" PRIMARY KEY,
    payload          jsonb       NOT NULL,
    metadata         jsonb,
    status           text        NOT NULL CHECK (status IN ('pending', 'delivered', 'failed')),
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    retry_count      integer     NOT NULL DEFAULT 0,
    correlation_id   text,
    source_topic     text        NOT NULL,
    source_partition integer     NOT NULL,
    source_offset    bigint      NOT NULL
);
COMMENT ON COLUMN events.created_at IS 'the event''s own timestamp';
COMMENT ON COLUMN events.status IS 'pending: stored, its metrics step has not finished';

-- Status queries ask for the rare states; delivered rows are not worth an index entry each.
CREATE INDEX events_unsettled ON events (created_at) WHERE status <> 'delivered';

-- The truth about what was consumed. fillfactor leaves room for heap-only updates.
CREATE TABLE stream_offsets (
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    next_offset bigint      NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Exact: written in the transaction that moves the offset. total = delivered + failed + duplicate + stale.
CREATE TABLE event_counters (
    topic             text        NOT NULL,
    partition         integer     NOT NULL,
    total             bigint      NOT NULL DEFAULT 0,
    delivered         bigint      NOT NULL DEFAULT 0,
    failed            bigint      NOT NULL DEFAULT 0,
    duplicate         bigint      NOT NULL DEFAULT 0,
    stale             bigint      NOT NULL DEFAULT 0,
    updated           bigint      NOT NULL DEFAULT 0,
    last_processed_at timestamptz,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);
COMMENT ON COLUMN event_counters.updated IS 'those duplicates that carried a newer version of their row';

CREATE VIEW event_totals AS
SELECT coalesce(sum(total), 0)::bigint     AS total,
       coalesce(sum(delivered), 0)::bigint AS delivered,
       coalesce(sum(failed), 0)::bigint    AS failed,
       coalesce(sum(duplicate), 0)::bigint AS duplicate,
       coalesce(sum(stale), 0)::bigint     AS stale,
       coalesce(sum(updated), 0)::bigint   AS updated,
       max(last_processed_at)              AS last_processed_at
FROM event_counters;

-- An index over the dead letter topic, which stays the truth. The key is the record that died.
CREATE TABLE dead_letters (
    topic           text        NOT NULL,
    partition       integer     NOT NULL,
    "offset"        bigint      NOT NULL,
    event_id        text,
    correlation_id  text,
    step            text        NOT NULL,
    verdict         text        NOT NULL,
    reason          text        NOT NULL,
    message         text        NOT NULL,
    sqlstate        text,
    attempts        integer     NOT NULL,
    first_failed_at timestamptz NOT NULL,
    last_failed_at  timestamptz NOT NULL,
    replay_count    integer     NOT NULL DEFAULT 0,
    state           text        NOT NULL DEFAULT 'open'
        CHECK (state IN ('open', 'planned', 'produced', 'settled', 'dead_again', 'discarded')),
    PRIMARY KEY (topic, partition, "offset")
);
CREATE INDEX dead_letters_open ON dead_letters (last_failed_at) WHERE state = 'open';
CREATE INDEX dead_letters_event_id ON dead_letters (event_id);

-- One row per replay run.
CREATE TABLE replays (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dlq_topic   text        NOT NULL,
    selection   jsonb       NOT NULL,
    started_by  text        NOT NULL,
    state       text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'finished', 'cancelled')),
    selected    bigint      NOT NULL DEFAULT 0,
    replayed    bigint      NOT NULL DEFAULT 0,
    skipped     bigint      NOT NULL DEFAULT 0,
    failed      bigint      NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
