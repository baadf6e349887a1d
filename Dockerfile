# One image for all services, chosen when it is built:
#   docker build --build-arg SERVICE=orchestrator -t noetl-orchestrator .
# SERVICE is a folder name of services/, or `server` for the operator commands.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ARG SERVICE=api-gateway
WORKDIR /src
COPY tools/uv.txt tools/uv.txt
RUN python -m venv /uv && /uv/bin/pip install --quiet --require-hashes -r tools/uv.txt
COPY . .
RUN /uv/bin/uv build --quiet --wheel --all-packages --out-dir /wheels
# Our own wheels are named as files, so that nothing of the same name can come from an index; all
# others are the files of requirements.txt, by their hashes.
RUN set -eu; \
    cd /wheels; \
    if [ "$SERVICE" = server ]; then \
        set -- $(ls noetl_*.whl | grep -v testkit); \
    else \
        set -- noetl_contract-*.whl noetl_template-*.whl noetl_engine-*.whl noetl_common-*.whl \
            "noetl_$(echo "$SERVICE" | tr - _)"-*.whl; \
    fi; \
    python /src/tools/image/requirements_of.py /src/requirements.txt \
        $(for wheel in "$@"; do echo "${wheel%%-*}" | tr _ -; done) > /needed.txt; \
    /uv/bin/uv venv --quiet /venv; \
    /uv/bin/uv pip install --quiet --python /venv/bin/python --compile-bytecode \
        --require-hashes --no-deps -r /needed.txt; \
    /uv/bin/uv pip install --quiet --python /venv/bin/python --compile-bytecode --no-deps \
        --offline "$@"; \
    /uv/bin/uv pip check --quiet --python /venv/bin/python

FROM python:${PYTHON}-slim
ARG SERVICE=api-gateway
RUN useradd --system --uid 10001 --no-create-home noetl
COPY --from=build /venv /venv
USER noetl
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NOETL_SERVICE=${SERVICE} \
    NOETL_HTTP_HOST=0.0.0.0 \
    NOETL_HTTP_PORT=8082 \
    NOETL_LOG_FORMAT=json
EXPOSE 8082
CMD ["sh", "-c", "exec python -m \"noetl_$(echo \"$NOETL_SERVICE\" | tr - _)\""]
