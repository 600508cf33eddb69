# One image for every part: the server, the worker, migrations and Envoy differ in their command only.

FROM python:3.13-slim-bookworm AS packages
COPY requirements.lock .
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: \
        --requirement requirements.lock

FROM python:3.13-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin greenroom \
    && install --directory --mode 0700 --owner greenroom --group greenroom /var/lib/greenroom
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY envoy.yaml ./
COPY migrations migrations
COPY clients/python/src clients/python/src
COPY server server
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app:/app/clients/python/src \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATE_DIR=/var/lib/greenroom \
    GRPC_HOST=0.0.0.0 \
    HTTP_HOST=0.0.0.0 \
    METRICS_HOST=0.0.0.0
USER greenroom
VOLUME /var/lib/greenroom
# gRPC for Envoy; metrics for Prometheus, never for the public.
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-m", "server", "health"]
CMD ["python", "-m", "server", "serve"]
