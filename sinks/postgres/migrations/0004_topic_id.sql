-- A name may be given again: offsets belong to the topic with this id, and to no other of the same name.
ALTER TABLE stream_offsets ADD COLUMN topic_id text;
COMMENT ON COLUMN stream_offsets.topic_id IS 'Kafka''s own id of the topic; null until a worker has asked for it';
