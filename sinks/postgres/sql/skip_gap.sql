-- Retention deleted records before they were read: move the offset over them, so that they are counted once.
-- The commit waits for the disk, as that of open_partition.sql.
UPDATE stream_offsets
SET next_offset = %(next_offset)s, skipped = skipped + %(next_offset)s - %(expected_offset)s, updated_at = now()
WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(expected_offset)s
RETURNING set_config('synchronous_commit', 'on', true)
