-- The events of the batch as rows, from one JSON array of the producers' own bytes. In jsonb a later key wins, so the
-- fields that `processors.validation.contract` appended ("@offset", "@undated", missing fields) are read here.
SELECT event_id, payload, metadata, "timestamp" AS created_at, correlation_id,
       coalesce(retry_attempt, 0) AS retry_count, "@offset" AS source_offset,
       "@undated" IS TRUE AS is_undated
FROM fence,
     jsonb_to_recordset(%(events)s::jsonb) AS x(
         event_id text, payload jsonb, metadata jsonb, "timestamp" timestamptz,
         correlation_id text, retry_attempt integer, "@offset" bigint, "@undated" boolean)
