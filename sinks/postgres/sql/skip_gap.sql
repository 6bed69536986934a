-- Moves the offset over records that retention deleted before they were read, and counts them as skipped.
-- The commit waits for the disk, as that of insert_partition.sql.
UPDATE stream_offsets
SET next_offset = %(next_offset)s, skipped = skipped + %(next_offset)s - %(expected_offset)s, updated_at = now()
WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(expected_offset)s
  AND incarnation = %(incarnation)s AND topic_id IS NOT DISTINCT FROM %(topic_id)s::text
RETURNING set_config('synchronous_commit', 'on', true)
