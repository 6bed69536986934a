-- These will be produced. Where their topics end now; of what waits already, the earlier ends stay.
UPDATE replays
SET planned = planned || %(letters)s::text[],
    target_ends = CASE WHEN planned = '{}' THEN %(ends)s::jsonb ELSE %(ends)s::jsonb || target_ends END
WHERE id = %(replay_id)s
RETURNING id
