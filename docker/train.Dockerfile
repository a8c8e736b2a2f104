# syntax=docker/dockerfile:1
# Training on GPUs: the replicas of the Vertex AI custom job. CUDA and cuDNN come as locked wheels, the
# driver from the host. Target: 4.5 GB compressed, 9 GB on disk, most of it CUDA.

FROM python:3.12-slim-trixie AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
# Its hash is among those that `echo uv==0.13.9 | uv pip compile --generate-hashes -` lists.
RUN echo "uv==0.13.9 --hash=sha256:d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19" > /tmp/uv.txt \
 && pip install --no-cache-dir --require-hashes --requirement /tmp/uv.txt \
 && uv venv --python /usr/local/bin/python3.12 /opt/pawprint
WORKDIR /src
COPY requirements/image-gpu.txt requirements/image-gpu.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip sync --python /opt/pawprint/bin/python --require-hashes --compile-bytecode --link-mode copy \
    requirements/image-gpu.txt
COPY setup.py pyproject.toml LICENSE NOTICE ./
COPY data data
COPY models models
COPY pipeline pipeline
# The wheel is built with the locked setuptools, not with one fetched for the build.
RUN --mount=type=cache,target=/root/.cache/uv \
    uv build --wheel --no-build-isolation --python /opt/pawprint/bin/python --out-dir /dist . \
 && uv pip install --python /opt/pawprint/bin/python --no-deps --compile-bytecode /dist/*.whl

FROM python:3.12-slim-trixie
RUN useradd --create-home --uid 1000 pawprint
COPY --from=build /opt/pawprint /opt/pawprint
# TF_USE_LEGACY_KERAS: TFX's entry points import Keras before the project's code can choose it.
ARG GIT_COMMIT=""
ENV PATH=/opt/pawprint/bin:$PATH \
    TF_USE_LEGACY_KERAS=1 \
    GIT_COMMIT=$GIT_COMMIT
USER 1000
WORKDIR /home/pawprint
