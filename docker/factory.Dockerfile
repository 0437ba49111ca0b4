# The factory: renders on Ray; knows nothing of the trainer. From the project's root:
#   docker build -f docker/factory.Dockerfile -t viewmill-factory .
#   docker build -f docker/factory.Dockerfile -t viewmill-factory-cuda --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 .
# Give BASE and BUILDER by digest (name@sha256:…) to pin them too; Python's packages are pinned by hash in factory.lock.
ARG BUILDER=python:3.11.14-slim-bookworm
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BUILDER} AS build
WORKDIR /build
COPY docker/factory.lock ./
RUN python -m venv --copies /opt/viewmill \
 && /opt/viewmill/bin/pip install --no-cache-dir --require-hashes --requirement factory.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY manifests manifests
COPY factory factory
COPY learning learning
COPY trainer trainer
RUN /opt/viewmill/bin/pip install --no-cache-dir --no-deps . \
 && rm -rf /opt/viewmill/lib/python3.11/site-packages/trainer

FROM ${BASE}
# The interpreter comes along, so that any Debian 12 or Ubuntu 24.04 will do; these are what it is linked with.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libffi8 libsqlite3-0 libssl3 tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home viewmill
COPY --from=build /usr/local /usr/local
COPY --from=build /opt/viewmill /opt/viewmill
ENV PATH=/opt/viewmill/bin:$PATH PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0 \
    VIEWMILL_CACHE=/home/viewmill/cache HF_HOME=/home/viewmill/cache/huggingface \
    VIEWMILL_LEAVE_FILE=/home/viewmill/leave
RUN ldconfig
USER 10001
WORKDIR /home/viewmill
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s CMD ["ray", "health-check"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "factory", "--help"]
