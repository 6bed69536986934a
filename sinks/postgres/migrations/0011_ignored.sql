-- Records that a rule, the setting of tombstones or a step of a deployment's own ignores: neither row nor dead letter.
-- Always: total = delivered + duplicate + stale + ignored + failed. Workers of the version before ignore nothing.
-- The view is locked before its table, as by those that read it.
LOCK TABLE event_totals IN ACCESS EXCLUSIVE MODE;
ALTER TABLE event_counters ADD COLUMN ignored bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN event_counters.ignored IS 'records that are neither stored nor dead-lettered, by a setting or a step';

CREATE OR REPLACE VIEW event_totals AS
SELECT coalesce(sum(total), 0)::bigint     AS total,
       coalesce(sum(delivered), 0)::bigint AS delivered,
       coalesce(sum(failed), 0)::bigint    AS failed,
       coalesce(sum(duplicate), 0)::bigint AS duplicate,
       coalesce(sum(stale), 0)::bigint     AS stale,
       coalesce(sum(updated), 0)::bigint   AS updated,
       max(last_processed_at)              AS last_processed_at,
       coalesce(sum(ignored), 0)::bigint   AS ignored
FROM event_counters;
