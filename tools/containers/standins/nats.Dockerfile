# In place of the image `nats` where no registry can be reached: the server of the tests.
ARG BASE
FROM ${BASE}
COPY nats-server /usr/local/bin/nats-server
COPY nats-entry.sh /usr/local/bin/docker-entrypoint.sh
COPY wget /usr/local/bin/wget
RUN chmod 755 /usr/local/bin/*
ENTRYPOINT ["docker-entrypoint.sh"]
