-- Moves the offset back to the start of a topic that ends before it: the topic was re-created or truncated.
-- From whatever offset: what late transactions of the former topic settle meanwhile is not of this one.
-- The commit waits for the disk, as that of insert_partition.sql.
UPDATE stream_offsets
SET first_offset = %(next_offset)s, next_offset = %(next_offset)s, skipped = -consumed, rewound_at = now(), updated_at = now(),
    incarnation = incarnation + 1
WHERE topic = %(topic)s AND partition = %(partition)s AND incarnation = %(incarnation)s
RETURNING set_config('synchronous_commit', 'on', true)
