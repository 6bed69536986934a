-- Lets one transaction after the other insert partitions: two topics that start at the same time would not see each other.
-- The table's lock would stop the batches of other partitions.
SELECT pg_advisory_xact_lock(hashtext('keepstream partitions'), 'stream_offsets'::regclass::oid::integer)
