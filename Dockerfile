# An image of tlog with its embedded PostgreSQL; see docs/how-to/run-in-a-container.md. No test builds it.
FROM python:3.13-slim AS build
COPY . /src
RUN python -m venv /opt/tlog && /opt/tlog/bin/pip install --no-cache-dir --require-hashes -r /src/requirements.lock && \
    /opt/tlog/bin/pip install --no-cache-dir --no-deps /src

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/tlog --create-home --shell /usr/sbin/nologin tlog
COPY --from=build /opt/tlog /opt/tlog
ENV PATH=/opt/tlog/bin:$PATH TLOG_DATA=/var/lib/tlog/audit TLOG_HOST=0.0.0.0 PYTHONUNBUFFERED=1
USER tlog
VOLUME /var/lib/tlog
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["tlog"]
CMD ["serve"]
