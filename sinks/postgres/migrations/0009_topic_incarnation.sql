-- Offsets begin again in a topic that was re-created or truncated, and so would the ids of dead letters: those of the nth
-- time are named after topic~n. No topic can have that name.
ALTER TABLE stream_offsets ADD COLUMN incarnation integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN stream_offsets.incarnation IS 'how often the topic was found re-created or truncated';
COMMENT ON COLUMN dead_letters.topic IS 'the topic; topic~n once it was re-created or truncated n times';
