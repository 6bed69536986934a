-- The batch's events as rows. One JSON array of the producers' own bytes travels; jsonb lets a later key win,
-- so what `processors.validation.validate` appended ("@offset", missing fields) is what is read here.
SELECT event_id, payload, metadata, "timestamp" AS created_at, correlation_id,
       coalesce(retry_attempt, 0) AS retry_count, "@offset" AS source_offset,
       coalesce("@undated" = 'true', false) AS is_undated
FROM fence,
     jsonb_to_recordset(%(events)s::jsonb) AS x(
         event_id text, payload jsonb, metadata jsonb, "timestamp" timestamptz,
         correlation_id text, retry_attempt integer, "@offset" bigint, "@undated" jsonb)
