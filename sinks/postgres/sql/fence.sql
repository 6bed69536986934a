-- The fence: the offset moves only from where this range begins, and only where there are counters to count in.
UPDATE stream_offsets
SET next_offset = %(end)s, updated_at = now(), consumed = consumed + %(records)s,
    skipped = skipped + %(end)s - %(begin)s - %(records)s
WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(begin)s
  AND EXISTS (SELECT FROM event_counters WHERE topic = %(topic)s AND partition = %(partition)s)
RETURNING 1
