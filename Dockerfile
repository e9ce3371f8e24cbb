# syntax=docker/dockerfile:1
# Images of Rejoinder: `docker build --target service .` answers people and holds no torch; `--target training` learns.
# Sources are copied, not installed, so that a change to them leaves the layer with the dependencies alone.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS requirements
WORKDIR /build
COPY pyproject.toml .
RUN python3 -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    open('service.txt', 'w').write('\n'.join(project['dependencies'])); \
    open('training.txt', 'w').write('\n'.join(project['dependencies'] + project['optional-dependencies']['training']))" \
    && python3 -m venv /opt/venv


FROM requirements AS service-dependencies
# pip leaves with the build: a running service installs nothing.
RUN /opt/venv/bin/pip install --no-cache-dir --requirement service.txt \
    && /opt/venv/bin/pip uninstall --yes pip setuptools


FROM requirements AS training-dependencies
# PyPI's own torch for Linux brings several GB of CUDA; the job runs on CPUs. Empty: whatever pip's index offers.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --requirement training.txt \
    && /opt/venv/bin/pip uninstall --yes pip


FROM ${BASE_IMAGE} AS runtime
ARG VERSION=0.0.0+unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="Rejoinder" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The root file system may be read-only: byte code is made below, everything that is written goes to /data and /tmp.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    DATA_DIR=/data \
    MODEL_STORE=/data/models
RUN install --directory --owner=10001 --group=10001 --mode=0750 /data
WORKDIR /app
COPY LICENSE ./
COPY model_store/ model_store/
VOLUME /data
STOPSIGNAL SIGTERM


FROM runtime AS training
LABEL org.opencontainers.image.title="rejoinder-training" \
      org.opencontainers.image.description="Turns thumbs into new gated model versions of the Rejoinder bot."
COPY --from=training-dependencies /opt/venv /opt/venv
COPY training/ training/
RUN python -m compileall -q /app
USER 10001:10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["run", "--config", "training/configs/small.yaml"]


# Last, so that a build without --target gives the service.
FROM runtime AS service
LABEL org.opencontainers.image.title="rejoinder-service" \
      org.opencontainers.image.description="A customer-service bot for plain CPUs: REST and SSE, thumbs stored."
COPY --from=service-dependencies /opt/venv /opt/venv
COPY service/ service/
RUN python -m compileall -q /app
# Any address but loopback needs SERVICE_API_KEY; without it the service says so and ends.
ENV HOST=0.0.0.0 \
    PORT=8000
EXPOSE 8000
USER 10001:10001
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]
