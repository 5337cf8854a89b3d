"""The benchmark's own SQL, read from `bench/sql` as the engine reads its own from `db/sql`."""

from pathlib import Path
from typing import Final

from db.queries import read

SQL: Final = read(Path(__file__).parent / "sql" / "bench.sql")
