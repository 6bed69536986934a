    -- A newer version with another key moves its row.
    IF {when} THEN
        UPDATE {table} AS t SET
            {changes}
        FROM changed e{record}
        WHERE t.{id} = mine.{id} AND e.source_partition >= 0 AND (e.metadata @> '{"deleted": true}') IS NOT TRUE AND (
            {differs}
        );
    END IF;
