# syntax=docker/dockerfile:1
# Images of Rejoinder: `docker build --target service .` answers people and holds no torch; `--target training` learns.
# Sources are copied, not installed, so that a change to them leaves the layer with the dependencies alone. The stages
# that become images run nothing, so RUNTIME_IMAGE needs no shell: any image with the same Python at the same place does.
# `make image` passes both by digest.
ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG RUNTIME_IMAGE=${BASE_IMAGE}

FROM ${BASE_IMAGE} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /build
# Symbols for debuggers are most of some modules. Debian's packages by themselves (`--base debian`) bring strip along.
# hadolint ignore=DL3008
RUN if [ ! -e /usr/bin/strip ]; then \
      apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*; fi
RUN python3 -m venv /opt/venv && install --directory --mode=0750 /data
COPY deploy/images/install.sh deploy/images/*.lock deploy/images/*.unneeded ./


FROM build AS service-dependencies
RUN bash install.sh service.lock


FROM build AS training-dependencies
# PyPI's own torch for Linux brings several GB of CUDA; the job runs on CPUs. Empty: whatever pip's index offers.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN bash install.sh training.lock ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}


FROM build AS service-sources
COPY LICENSE /app/
COPY model_store/ /app/model_store/
COPY service/ /app/service/
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app


FROM build AS training-sources
COPY LICENSE /app/
COPY model_store/ /app/model_store/
COPY training/ /app/training/
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app


FROM ${RUNTIME_IMAGE} AS runtime
ARG VERSION=0.0.0+unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG BASE_NAME=unknown
ARG BASE_DIGEST=unknown
LABEL org.opencontainers.image.vendor="Rejoinder" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_NAME}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"
# The root file system may be read-only: byte code is made above, everything that is written goes to /data and /tmp.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    DATA_DIR=/data \
    MODEL_STORE=/data/models
COPY --from=build --chown=10001:10001 /data /data
WORKDIR /app
VOLUME /data
STOPSIGNAL SIGTERM


FROM runtime AS training
LABEL org.opencontainers.image.title="rejoinder-training" \
      org.opencontainers.image.description="Turns thumbs into new gated model versions of the Rejoinder bot."
COPY --from=training-dependencies /opt/venv /opt/venv
COPY --from=training-sources /app /app
USER 10001:10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["run", "--config", "training/configs/small.yaml"]


# Last, so that a build without --target gives the service.
FROM runtime AS service
LABEL org.opencontainers.image.title="rejoinder-service" \
      org.opencontainers.image.description="A customer-service bot for plain CPUs: REST and SSE, thumbs stored."
COPY --from=service-dependencies /opt/venv /opt/venv
COPY --from=service-sources /app /app
# Any address but loopback needs SERVICE_API_KEY; without it the service says so and ends.
ENV HOST=0.0.0.0 \
    PORT=8000
EXPOSE 8000
USER 10001:10001
# Of Docker; Kubernetes has its own probes and ignores it.
HEALTHCHECK --interval=10s --timeout=4s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/readyz\", timeout=3)"]
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]
