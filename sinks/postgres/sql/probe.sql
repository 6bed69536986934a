-- A harmless event, rolled back by the caller: if this works, it is not the database that refuses.
INSERT INTO events (event_id, payload, status, created_at, source_topic, source_partition, source_offset)
VALUES (%(event_id)s, '{}', 'pending', now(), 'keepstream-probe', -1, -1)
