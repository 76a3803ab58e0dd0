"""A batch spread over machines by dask.distributed: workers of a scheduler that is there already.

Images, models and results are files that all machines reach by the same paths; only those paths travel. Each worker
process keeps its models loaded. Whoever can reach a scheduler without TLS can run code on its workers: outside of one
computer, use TLS.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddl.batch.seats import OnProgress, Work
from meddl.errors import JobError, UsageError, WorkerDied, from_dict, to_dict

logger = logging.getLogger(__name__)

_PATIENCE_S = 30.0
_LOST = ("KilledWorker", "WorkerDied", "CommClosedError", "CancelledError", "FutureCancelledError")


@dataclass(frozen=True)
class Tls:
    """Files of a TLS connection: the authority, and this side's certificate and key. None: as dask is configured."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __bool__(self) -> bool:
        return any((self.ca, self.certificate, self.key))


class Spread:
    """Gives cases to the workers of a dask scheduler.

    A case whose worker is lost is given to another one; if that is lost too, the case fails and the others go on.

    Args:
        address: of the scheduler, for instance ``tls://cluster:8786`` or ``tcp://127.0.0.1:8786``.
        tls: where dask's own configuration does not say.
        patience: seconds to wait for the scheduler and its first worker.

    Raises:
        UsageError: dask is not installed, nobody answers, there are no workers, or they lack MedDL.
    """

    def __init__(self, address: str, tls: Tls | None = None, *, patience: float = _PATIENCE_S) -> None:
        try:
            import distributed
        except ImportError as error:
            raise UsageError(
                "Spreading a batch over machines needs dask, which is not installed here. "
                "Install it with: pip install dask distributed"
            ) from error
        security = _security(tls)
        try:
            self._client = distributed.Client(
                address, timeout=patience, security=security, set_as_default=False, name="meddl"
            )
        except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
            logger.debug("scheduler: %r", error)
            raise UsageError(
                f"No dask scheduler answers at {address}. Check the address, and TLS if it asks for that."
            ) from error
        self._futures: list[Any] = []
        self.notes: tuple[str, ...] = ()
        if not address.startswith(("tls://", "inproc://")) and not _is_local(address):
            self.notes = ("The connection to the workers is not encrypted. Use TLS in a network that others share.",)
        try:
            self._wait_for_workers(patience)
            self._check_workers(patience)
        except BaseException:
            self.close()
            raise

    @property
    def free(self) -> bool:
        self._futures = [future for future in self._futures if not future.done()]
        # One more than there are processes: none of them waits for this side to notice that it is free.
        return len(self._futures) <= self._count()

    def submit(self, params: dict[str, Any], on_progress: OnProgress) -> Work:
        future = self._client.submit(_work, params, pure=False, retries=1)
        self._futures.append(future)
        on_progress(0.0, "Handed to a worker")
        return _Remote(future)

    def turn(self) -> None:
        time.sleep(0.05)

    def close(self) -> None:
        for future in self._futures:
            if not future.done():
                future.cancel()
        self._client.close(timeout=5)

    def _count(self) -> int:
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def _wait_for_workers(self, patience: float) -> None:
        try:
            self._client.wait_for_workers(1, timeout=patience)
        except TimeoutError as error:
            raise UsageError(
                "The dask scheduler has no workers. Start some with 'dask worker', then start the batch again."
            ) from error

    def _check_workers(self, patience: float) -> None:
        try:
            self._client.submit(_probe, pure=False).result(timeout=patience)
        except Exception as error:
            logger.debug("probe: %r", error)
            raise UsageError(
                "The dask workers cannot run MedDL: it must be installed in their Python, in the same version."
            ) from error


class _Remote:
    def __init__(self, future: Any) -> None:
        self._future = future

    @property
    def done(self) -> bool:
        return bool(self._future.done())

    def result(self) -> dict[str, Any]:
        try:
            answer = self._future.result()
        except Exception as error:
            logger.debug("worker: %r", error)
            if type(error).__name__ in _LOST:
                raise WorkerDied(
                    "The workers that had this case were lost, one after the other. "
                    "Most likely their memory did not suffice."
                ) from error
            raise JobError(f"A worker failed in a way that MedDL did not foresee ({type(error).__name__}).") from error
        if "error" in answer:
            raise from_dict(answer["error"])
        return answer["record"]


_one_at_a_time = threading.Lock()
_kept: list[Any] = []


def _work(params: dict[str, Any]) -> dict[str, Any]:
    """Run a case in a worker process of dask: one at a time, whatever the number of its threads."""
    from meddl.batch.task import run_case
    from meddl.jobs import JobContext, ModelCache

    with _one_at_a_time:
        if not _kept:
            _kept.append(ModelCache())
        try:
            return {"record": run_case(params, JobContext(cache=_kept[0]))}
        except Exception as error:
            return {"error": to_dict(error)}


def _probe() -> str:
    import meddl
    import meddl.batch.task

    return meddl.__version__


def _security(tls: Tls | None) -> Any:
    if not tls:
        return None
    from distributed.security import Security

    for file in (tls.ca, tls.certificate, tls.key):
        if file is not None and not file.is_file():
            raise UsageError(f"There is no file {file.name} for TLS. Check its path.")
    return Security(
        tls_ca_file=str(tls.ca) if tls.ca else None,
        tls_client_cert=str(tls.certificate) if tls.certificate else None,
        tls_client_key=str(tls.key) if tls.key else None,
        require_encryption=True,
    )


def _is_local(address: str) -> bool:
    return any(host in address for host in ("127.0.0.1", "localhost", "[::1]"))
