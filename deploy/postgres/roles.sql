-- Four roles, none of which is a superuser. Run once per database, as a role with CREATEROLE:
--     psql "$ADMIN_URL" -f deploy/postgres/roles.sql
-- They have no password: \password keepstream_worker, or client certificates with these common names.
-- Their privileges on the tables: grants.sql.
DO $$
DECLARE
    missing text;
BEGIN
    FOREACH missing IN ARRAY ARRAY['keepstream_owner', 'keepstream_worker', 'keepstream_operator', 'keepstream_reader']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = missing) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION', missing);
        END IF;
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    -- keepstream_owner: `keepstream db migrate`. Creates the schema and owns the tables; no other role may change them.
    EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO keepstream_owner', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO keepstream_worker, keepstream_reader', current_database());
    -- TEMPORARY: `keepstream audit --deep` compares by means of temporary tables.
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO keepstream_operator', current_database());
END
$$;
ALTER ROLE keepstream_reader SET default_transaction_read_only = on;
