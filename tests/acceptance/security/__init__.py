"""The same on a broker with TLS, logins and ACLs and a PostgreSQL with TLS and least-privilege roles."""
