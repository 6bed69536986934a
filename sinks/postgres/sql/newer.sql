-- The newest version of an event wins: its timestamp decides, then where it stood in the topic. An identical repeat of
-- a delivered row is not worth a write.
((k.created_at, %(partition)s, k.source_offset) > (e.created_at, e.source_partition, e.source_offset)
 AND (e.status <> 'delivered'
      OR (e.payload, e.metadata, e.created_at, e.correlation_id)
         IS DISTINCT FROM (k.payload, k.metadata, k.created_at, k.correlation_id)))
