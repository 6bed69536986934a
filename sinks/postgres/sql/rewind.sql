-- The topic ends before the stored offset: it was re-created or truncated. Read what there is from its start.
-- The commit waits for the disk, as that of open_partition.sql.
UPDATE stream_offsets
SET first_offset = %(next_offset)s, next_offset = %(next_offset)s, skipped = -consumed, rewound_at = now(), updated_at = now(),
    incarnation = incarnation + 1
WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(expected_offset)s
RETURNING set_config('synchronous_commit', 'on', true)
