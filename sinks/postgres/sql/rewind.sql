-- Moves the offset back to the start of a topic that was re-created or truncated, and stores the id of the new one.
-- From whatever offset: what late transactions of the former topic settle meanwhile is not of this one.
-- The commit waits for the disk, as that of insert_partition.sql.
UPDATE stream_offsets
SET first_offset = %(next_offset)s, next_offset = %(next_offset)s, skipped = -consumed, rewound_at = now(), updated_at = now(),
    incarnation = incarnation + 1, topic_id = coalesce(%(new_topic_id)s::text, topic_id)
WHERE topic = %(topic)s AND partition = %(partition)s
  AND incarnation = %(incarnation)s AND topic_id IS NOT DISTINCT FROM %(topic_id)s::text
RETURNING set_config('synchronous_commit', 'on', true)
