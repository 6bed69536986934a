-- Deletes old rows of one range of blocks and adds them up by partition. A row that a worker has locked is left for the
-- next run: this statement waits for no lock while it holds some, so it cannot deadlock.
WITH old AS MATERIALIZED (
    SELECT ctid AS row_id FROM {leaf}
    WHERE ctid >= %(first)s::tid AND ctid < %(beyond)s::tid AND status = 'delivered' AND created_at < %(before)s
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {leaf} WHERE ctid = ANY (ARRAY(SELECT row_id FROM old))
    RETURNING source_topic, source_partition
), sums AS (
    SELECT source_topic AS topic, source_partition AS partition, count(*) AS rows FROM gone GROUP BY 1, 2
), noted AS (
    INSERT INTO pruned_events AS p (topic, partition, rows, before)
    SELECT topic, partition, rows, %(before)s FROM sums ORDER BY topic, partition
    ON CONFLICT (topic, partition) DO UPDATE
    SET rows = p.rows + excluded.rows, before = greatest(p.before, excluded.before), updated_at = now()
)
SELECT topic, partition, rows FROM sums
