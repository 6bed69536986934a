-- Inserts a harmless event, which the caller rolls back: if this works, the database is healthy.
INSERT INTO events (event_id, payload, status, created_at, source_topic, source_partition, source_offset)
VALUES (%(event_id)s, '{}', 'pending', now(), 'keepstream-probe', -1, -1)
