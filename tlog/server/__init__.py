"""The HTTP service: `app.create_app` is the container, each other module one group of endpoints or one concern.

`problems` turns errors into RFC 9457 answers in one table, `auth` checks API keys, `append`, `read` and `audit` are the
endpoints, `journal` logs who asked, `openapi` describes them, `metrics` counts, `serve` runs the whole under uvicorn.
"""
