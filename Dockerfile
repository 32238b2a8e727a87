# laptime in a container. Build in the root of the repository:
#   docker build -t laptime .                                   torch as the default package index has it
#   docker build -t laptime:cpu --build-arg PIP_EXTRA_INDEX_URL=URL .   torch from an index of builds for one kind of device
# Run a set in a folder of yours (runs/ and data/ appear there):
#   docker run --rm --ipc=host -v "$PWD:/work" --user "$(id -u):$(id -g)" laptime laptime run resnet --round smoke
# A lap of its own: docker run --rm --ipc=host laptime make -C /opt/laptime lap
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG PIP_EXTRA_INDEX_URL=

# git: run records name the commit; make: `make lap` works here, too
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/*

# torch first: its layer is large and changes seldom. The tested version, in the build that the index has.
WORKDIR /opt/laptime
COPY constraints.txt ./
RUN pip install --no-cache-dir "$(grep '^torch==' constraints.txt)"

COPY pyproject.toml setup.py README.md LICENSE Makefile ./
COPY src ./src
RUN pip install --no-cache-dir -c constraints.txt '.[train,plot]'

# `make lap` finds this environment instead of making one; the stamps say that it is filled.
RUN mkdir -p .venv && ln -s "$(dirname "$(command -v python)")" .venv/bin \
 && touch .venv/.lap .venv/.dev \
 && useradd --create-home --uid 1000 lapper \
 && mkdir -p /work && chown lapper:lapper /work /opt/laptime
ENV PYTHONUNBUFFERED=1
USER lapper
WORKDIR /work
CMD ["laptime", "--help"]
