# One image for orders, payments, notifier, gateway, backstage and auditor. docker-compose.yml sets their commands.
ARG PYTHON_IMAGE=python:3.14-slim

FROM ${PYTHON_IMAGE} AS build
RUN pip install --no-cache-dir uv==0.13.9
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev

# The same environment with the test tools, for tests/image/run.
FROM build AS test
RUN uv sync --locked --all-groups

FROM ${PYTHON_IMAGE}
RUN useradd --system --no-create-home --uid 10001 gozon
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY . .
RUN python -m compileall -q gozon shopkit orders payments notifier gateway backstage auditor
ARG REVISION=unknown
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=8000 REVISION=$REVISION
USER gozon
EXPOSE 8000
