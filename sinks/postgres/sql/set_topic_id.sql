-- Only where none is known: another id comes with the rewind, and a worker that was frozen must not put an earlier one back.
-- The commit waits for the disk, as that of insert_partition.sql.
UPDATE stream_offsets SET topic_id = %(topic_id)s
WHERE topic = %(topic)s AND partition = %(partition)s AND topic_id IS NULL
RETURNING set_config('synchronous_commit', 'on', true)
