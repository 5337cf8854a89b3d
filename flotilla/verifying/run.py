"""A verification from the settings of a process: who is asked, what is repaired, and what metrics hear of it."""

import msgspec

from bus.client import Bus
from db import verification
from db.store import Store
from flotilla import settings as flotilla_settings
from flotilla.embedded.nats import NatsServer
from flotilla.embedded.postgres import PostgresServer
from flotilla.settings import Settings
from flotilla.verifying import fixing
from flotilla.verifying.findings import Report
from flotilla.verifying.verifier import Patience, Verifier

POOL_SIZE = 4


def with_addresses(settings: Settings) -> Settings:
    """Return the settings with the servers of `flotilla up` in DATA_DIR where none are set. Raises MissingSettings."""
    folder = settings.data_dir.absolute()
    database_url = settings.database_url or PostgresServer(folder / "postgres").kept_url()
    nats_url = settings.nats_url or NatsServer(folder / "nats").kept_url()
    found = msgspec.structs.replace(settings, database_url=database_url, nats_url=nats_url)
    flotilla_settings.check(found, "verify")
    return found


async def verify(settings: Settings, patience: Patience, *, fix: bool) -> Report:
    """Verify the installation that the settings name. Raises StoreError and BusError."""
    assert settings.database_url is not None
    assert settings.nats_url is not None
    credentials = None if settings.nats_creds is None else str(settings.nats_creds)
    store = await Store.open(settings.database_url, pool_size=POOL_SIZE)
    try:
        async with await Bus.connect(
            settings.nats_url, name="flotilla-verify", credentials=credentials
        ) as bus:
            report = await Verifier(store, bus, patience).run()
            # Before repairs: metrics are to show that there was something to repair.
            await verification.record(store, report.counts)
            if fix and report.findings:
                repaired = await fixing.fix(store, bus, report.findings)
                report = msgspec.structs.replace(report, findings=repaired)
            return report
    finally:
        await store.close()
