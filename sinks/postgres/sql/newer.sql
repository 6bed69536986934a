-- Whether a record of the batch (k) replaces the row (e). The later timestamp wins, of equal ones the higher partition, then
-- the higher offset. A failed row loses to any. The record of a pending row may be the very one that is read again.
-- A repeat of a delivered row is not worth a write: the same content, and the same timestamp or none of its own.
CASE e.status
    WHEN 'failed' THEN true
    WHEN 'pending' THEN (k.created_at, %(partition)s, k.source_offset)
                        >= (e.created_at, e.source_partition, e.source_offset)
    ELSE (k.created_at, %(partition)s, k.source_offset) > (e.created_at, e.source_partition, e.source_offset)
         AND ((e.payload, e.metadata, e.correlation_id) IS DISTINCT FROM (k.payload, k.metadata, k.correlation_id)
              OR (e.created_at <> k.created_at AND NOT k.is_undated))
END
