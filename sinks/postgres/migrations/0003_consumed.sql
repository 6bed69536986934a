-- What `keepstream audit` compares: how many records were taken off the log, written with the offset and apart from the
-- counters. Always: first_offset + consumed + skipped = next_offset.
ALTER TABLE stream_offsets
    ADD COLUMN first_offset bigint,
    ADD COLUMN consumed     bigint NOT NULL DEFAULT 0,
    ADD COLUMN skipped      bigint NOT NULL DEFAULT 0,
    ADD COLUMN rewound_at   timestamptz;
COMMENT ON COLUMN stream_offsets.first_offset IS 'where consumption began';
COMMENT ON COLUMN stream_offsets.consumed IS 'records taken off the log; equals event_counters.total';
COMMENT ON COLUMN stream_offsets.skipped IS 'offsets passed that held no record to read: transaction markers, aborted '
    'records, compaction, retention gaps; less what a topic that was re-created held before';
COMMENT ON COLUMN stream_offsets.rewound_at IS 'when the topic was last found re-created or truncated';

-- What was consumed before this migration counts as one stretch without holes.
UPDATE stream_offsets s SET consumed = c.total, first_offset = s.next_offset - c.total
FROM event_counters c WHERE (c.topic, c.partition) = (s.topic, s.partition);
UPDATE stream_offsets SET first_offset = next_offset WHERE first_offset IS NULL;
ALTER TABLE stream_offsets ALTER COLUMN first_offset SET NOT NULL;
