-- Delete old rows of one stretch of blocks, and write down whose they were. A row that a worker is about to change is left
-- for the next run: so nobody waits here with rows in hand, and there is no deadlock.
WITH old AS MATERIALIZED (
    SELECT ctid AS place FROM {leaf}
    WHERE ctid >= %(first)s::tid AND ctid < %(beyond)s::tid AND status = 'delivered' AND created_at < %(before)s
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {leaf} WHERE ctid = ANY (ARRAY(SELECT place FROM old))
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
