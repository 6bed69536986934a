-- Returns a row where the triggers of `keepstream tables apply` are there and enabled.
SELECT 1 FROM pg_trigger
WHERE tgrelid = 'events'::regclass AND tgname IN ('keepstream_fill_table_inserted', 'keepstream_fill_table_updated')
  AND tgenabled IN ('O', 'A')
HAVING count(*) = 2
