# Truthloop as an image: the wheel, its pinned dependencies, and nothing else. Protobuf is read; no demo, no Java, no broker.
#
#   docker build -t truthloop:local .
#   docker run --rm truthloop:local --help
#
# The config is expected in /loop, what is kept in /data (lake, state, data sets). Runs as uid 10001 on a read-only root;
# give it a /tmp. docker-compose.yml has a whole loop, docs/operations.md says what each role needs.

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY joins joins
COPY lake lake
COPY monitor monitor
COPY retrain retrain
COPY schemas schemas
COPY streams streams
COPY truthloop truthloop
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
# the dependencies are installed as wheels only, in the versions that were tested together; pip itself stays behind
COPY constraints.txt ./
RUN python -m venv --without-pip /opt/truthloop \
 && pip --python /opt/truthloop/bin/python install --no-cache-dir --only-binary :all: \
      --constraint constraints.txt "$(ls /wheels/truthloop-*.whl)[protobuf]"

FROM python:3.12-slim
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin truthloop \
 && install --directory --owner 10001 --group 10001 /data /data/lake /data/state /data/datasets /loop
COPY --from=build /opt/truthloop /opt/truthloop
COPY deploy/livez.py /opt/truthloop/livez.py
ENV PATH=/opt/truthloop/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /loop
# whichever role it runs, it answers on that role's port
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["python", "/opt/truthloop/livez.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["truthloop"]
