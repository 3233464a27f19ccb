# One recipe for every service: docker build --build-arg SERVICE=ingress -t voicemesh/ingress-svc .
# Nothing here needs BuildKit. What changes most comes last: a change in one service makes one image anew.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ARG SERVICE=ingress
COPY ${SERVICE}-svc/requirements.lock /requirements.lock
RUN python -m venv /venv \
 && /venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes --target /packages \
    --requirement /requirements.lock \
 && rm -rf /packages/bin

FROM ${PYTHON_IMAGE} AS service
# pip is for the stage above; an image that cannot install anything has less to patch.
RUN ! python -m pip --version >/dev/null 2>&1 || python -m pip uninstall --quiet --yes --root-user-action ignore \
    setuptools wheel pip
ARG SERVICE=ingress
COPY --from=packages /packages /packages
WORKDIR /app
COPY protos/gen svc-runtime/src ./
COPY ${SERVICE}-svc/src ./
COPY agent.toml budget.toml ./
ENV PYTHONPATH=/app:/packages PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 SERVICE=${SERVICE}
# Bytecode is made here, since nothing can be written where it runs; the import is the smoke test. Volumes that are
# mounted below /data and /run/secrets take their owner from these folders.
RUN python -m compileall -q /app && python -c "import ${SERVICE}_svc.__main__" \
 && install -d -o 10001 -g 10001 /data /run/secrets
USER 10001:10001
# A shell that becomes Python: it is process 1 and gets SIGTERM itself.
CMD ["sh", "-c", "exec python -m ${SERVICE}_svc"]

# The `voicemesh` command, for calls and their timelines where no Python is at hand.
FROM ${PYTHON_IMAGE} AS command-packages
COPY requirements.lock /requirements.lock
RUN python -m venv /venv \
 && /venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes --target /packages \
    --requirement /requirements.lock \
 && rm -rf /packages/bin

FROM ${PYTHON_IMAGE} AS command
RUN ! python -m pip --version >/dev/null 2>&1 || python -m pip uninstall --quiet --yes --root-user-action ignore \
    setuptools wheel pip
COPY --from=command-packages /packages /packages
WORKDIR /app
COPY protos/gen svc-runtime/src ingress-svc/src session-svc/src bargein-svc/src llm-svc/src cli/src ./
COPY cli/src/voicemesh_cli/samples ./samples
COPY agent.toml budget.toml ./
ENV PYTHONPATH=/app:/packages PYTHONDONTWRITEBYTECODE=1
RUN python -m compileall -q /app && python -c "import voicemesh_cli.__main__"
USER 10001:10001
ENTRYPOINT ["python", "-m", "voicemesh_cli"]
