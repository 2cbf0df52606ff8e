# vidcli on a CPU. Build: docker build --tag vidcli .
FROM python:3.12-slim

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
WORKDIR /opt/vidcli
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY vidcli vidcli
# The CPU build of torch first: the default one brings 5 GB of CUDA libraries.
RUN pip install 'torch>=2.6' 'torchvision>=0.21' --index-url https://download.pytorch.org/whl/cpu \
    && pip install . \
    && useradd --create-home --uid 1000 vidcli \
    && install --directory --owner=1000 /data /cache
# Any user that `docker run --user` names can write these.
RUN chmod 1777 /data /cache
ENV XDG_CACHE_HOME=/cache MPLCONFIGDIR=/tmp/matplotlib
USER 1000
WORKDIR /data
ENTRYPOINT ["vidcli"]
CMD ["--help"]
