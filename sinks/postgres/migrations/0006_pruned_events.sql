-- What `keepstream db prune` deleted, so that the audit can tell a row that was pruned from one that was lost.
CREATE TABLE pruned_events (
    topic      text        NOT NULL,
    partition  integer     NOT NULL,
    rows       bigint      NOT NULL,
    before     timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);
COMMENT ON COLUMN pruned_events.rows IS 'delivered rows of this source that were deleted, written with the deletion';
COMMENT ON COLUMN pruned_events.before IS 'the latest bound: events with an older timestamp may be gone';
