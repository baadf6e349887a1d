# One image for all services, chosen when it is built:
#   docker build --build-arg SERVICE=orchestrator -t noetl-orchestrator .
# SERVICE is a folder name of services/, or `server` for the operator commands: migrations, roles,
# users of the broker, keys. What an image holds besides Python is what its service needs.
#
# BASE with its digest makes a build repeatable: --build-arg BASE=python:3.13-slim@sha256:…
ARG BASE=python:3.13-slim

FROM ${BASE} AS uv
COPY tools/uv.txt /uv.txt
RUN python -m venv /uv && /uv/bin/pip install --quiet --no-cache-dir --require-hashes --only-binary :all: -r /uv.txt

# All wheels of ours at once, and for each image its part of them: a change in one service leaves
# the other images as they are.
FROM uv AS wheels
WORKDIR /src
COPY requirements.txt pyproject.toml LICENSE ./
COPY tools/image tools/image
COPY libs libs
COPY services services
COPY packages packages
COPY migrations migrations
COPY cli cli
COPY testkit testkit
# Times inside the wheels are no part of what they are.
RUN SOURCE_DATE_EPOCH=315532800 /uv/bin/uv build --quiet --wheel --all-packages \
        --require-hashes --build-constraint requirements.txt --out-dir /wheels \
    && python tools/image/parts.py /wheels requirements.txt /parts

FROM uv AS site
ARG SERVICE=api-gateway
RUN /uv/bin/uv venv --quiet /venv
COPY --from=wheels /parts/${SERVICE}/requirements.txt /requirements.txt
RUN /uv/bin/uv pip install --quiet --no-cache --python /venv/bin/python --compile-bytecode \
        --require-hashes --no-deps -r /requirements.txt
# Our own wheels are named as files, so that nothing of the same name can come from an index.
COPY --from=wheels /parts/${SERVICE}/wheels /wheels
RUN /uv/bin/uv pip install --quiet --no-cache --python /venv/bin/python --compile-bytecode \
        --no-deps --offline /wheels/*.whl \
    && /uv/bin/uv pip check --quiet --python /venv/bin/python
# Out goes what the metadata of a package asks for and nothing that runs here imports.
COPY tools/image/strip.py /strip.py
COPY --from=wheels /parts/${SERVICE}/unused.txt /parts/${SERVICE}/start /
RUN if [ -s /unused.txt ]; then \
        /uv/bin/uv pip uninstall --quiet --python /venv/bin/python -r /unused.txt; \
    fi \
    && python /strip.py /venv \
    && install -m 755 /start /venv/bin/start \
    # The catalog resolves libraries of steps with it, a worker installs them.
    && case "${SERVICE}" in catalog|worker) install -m 755 /uv/bin/uv /venv/bin/uv ;; esac

FROM ${BASE}
# A number, so that whoever starts the image can see that it isn't root's.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin noetl \
    # For volumes, which take the owner of what they cover.
    && install -d -o 10001 -g 10001 -m 700 /var/cache/noetl \
    # Like /tmp, for whoever the image runs as: what is made there is its maker's alone.
    && install -d -m 1777 /var/lib/noetl/scripts
COPY --from=site /venv /venv
USER 10001:10001
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NOETL_HTTP_HOST=0.0.0.0 \
    NOETL_HTTP_PORT=8082 \
    NOETL_LOG_FORMAT=json \
    # What scripts share is /tmp, which on a read-only root is the only other place.
    NOETL_WORKER_SCRIPT_DIRECTORY=/var/lib/noetl/scripts
EXPOSE 8082
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-m", "noetl_service.healthcheck"]
CMD ["start"]
# Last, because they differ in every build.
ARG SERVICE=api-gateway
ARG VERSION=dev
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="noetl ${SERVICE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="Apache-2.0"
ENV NOETL_BUILD_REVISION=${REVISION}
