-- Made from the settings by `keepstream tables apply`: change them, and run it again.
#variable_conflict use_column
BEGIN
    -- Partition -1 is the worker's probe of whether PostgreSQL accepts rows. Pending rows are written as well: a refusal
    -- has to occur while it can be traced to one record.
    IF NOT EXISTS (SELECT FROM changed e WHERE e.source_partition >= 0) THEN
        RETURN NULL;
    END IF;{move}
    INSERT INTO {table} AS t (
        {columns}
    ) SELECT
        {values}
    FROM changed e{record}
    WHERE e.source_partition >= 0 AND (e.metadata @> '{"deleted": true}') IS NOT TRUE
    ORDER BY e.event_id
    ON CONFLICT ({key}) DO {update};
    -- Only then, for it takes the right to delete.
    IF EXISTS (SELECT FROM changed e WHERE e.metadata @> '{"deleted": true}') THEN
        DELETE FROM {table} AS t
        USING changed e{id_record}
        WHERE t.{id} = mine.{id} AND e.source_partition >= 0 AND e.metadata @> '{"deleted": true}';
    END IF;
    RETURN NULL;
END
