# The trainer: learns from data sets; has neither Ray nor diffusers. From the project's root:
#   docker build -f docker/trainer.Dockerfile -t viewmill-trainer .
#   docker build -f docker/trainer.Dockerfile -t viewmill-trainer-cuda --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 .
# Give BASE and BUILDER by digest (name@sha256:…) to pin them too; Python's packages are pinned by hash in trainer.lock.
ARG BUILDER=python:3.11.14-slim-bookworm
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BUILDER} AS build
WORKDIR /build
COPY docker/trainer.lock ./
RUN python -m venv --copies /opt/viewmill \
 && /opt/viewmill/bin/pip install --no-cache-dir --require-hashes --requirement trainer.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY manifests manifests
COPY factory factory
COPY learning learning
COPY trainer trainer
RUN /opt/viewmill/bin/pip install --no-cache-dir --no-deps . \
 && rm -rf /opt/viewmill/lib/python3.11/site-packages/factory

FROM ${BASE}
# The interpreter comes along, so that any Debian 12 or Ubuntu 24.04 will do; these are what it is linked with.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libffi8 libsqlite3-0 libssl3 tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home viewmill
COPY --from=build /usr/local /usr/local
COPY --from=build /opt/viewmill /opt/viewmill
ENV PATH=/opt/viewmill/bin:$PATH PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 VIEWMILL_CACHE=/home/viewmill/cache
RUN ldconfig
USER 10001
WORKDIR /home/viewmill
# Rank 0 answers here where the command says --metrics 9109.
HEALTHCHECK --interval=30s --timeout=20s --start-period=300s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9109/metrics', timeout=10)"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "trainer", "--help"]
