"""The schema people read (docs/reference/schema.sql) is what the migrations make, as PostgreSQL itself dumps it."""

from __future__ import annotations

import subprocess

import pytest
from support import ROOT

SCHEMA = ROOT / "docs" / "reference" / "schema.sql"
HEADER = "-- What the migrations of this version make, as pg_dump prints it. Made by tests/storage/test_schema.py, checked by it too.\n\n"


def dump(postgres, database):
    """Return the schema of a database without session settings, random markers and comments."""
    command = [postgres.binary("pg_dump"), "--schema-only", postgres.conninfo(user="postgres", dbname=database)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [
        line for line in text.splitlines() if not line.startswith(("--", "SET ", "\\", "SELECT pg_catalog.set_config"))
    ]
    kept = [line for number, line in enumerate(lines) if line or (number and lines[number - 1])]
    return HEADER + "\n".join(kept).strip() + "\n"


def test_migrations_make_the_schema_people_read(postgres, template):
    made = dump(postgres, template)
    if not SCHEMA.exists():  # how it is made anew after a migration: delete it and run this test twice
        SCHEMA.write_text(made, encoding="utf-8")
        pytest.fail("docs/reference/schema.sql was missing and is written now; read it and commit it")
    assert made == SCHEMA.read_text(encoding="utf-8"), (
        "delete docs/reference/schema.sql, run this test, read the difference"
    )
    assert "ENABLE ALWAYS TRIGGER append_only" in made
    assert "COMMENT ON TABLE" not in made
