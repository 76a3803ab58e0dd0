"""A batch spread over machines by dask.distributed: workers of a scheduler that is there already.

Images, models and results are files that all machines reach by the same paths; only those paths travel. Each worker
process keeps its models loaded. Whoever can reach a scheduler without TLS can run code on its workers: outside of one
computer, use TLS.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddl.batch.seats import Finished, OnProgress, Work
from meddl.errors import JobError, UsageError, WorkerDied, from_dict, to_dict

logger = logging.getLogger(__name__)

_PATIENCE_S = 30.0
_LOOK_AGAIN_S = 0.5
_WORKERS_A_CASE_MAY_LOSE = 2
_LOST = ("KilledWorker", "CommClosedError", "CancelledError", "FutureCancelledError")


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
        self._patience = patience
        self._cases: list[_Remote] = []
        self._workers: set[str] = set()
        self._looked, self._seen = -math.inf, time.monotonic()
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
        self._look()
        return bool(self._idle()) or self._deserted

    def submit(self, params: dict[str, Any], on_progress: OnProgress) -> Work:
        if self._deserted:
            return Finished(None, WorkerDied("All dask workers are lost. Start some, then start the batch again."))
        case = _Remote(self._client, params)
        case.give_to(self._idle()[0])
        self._cases.append(case)
        on_progress(0.0, "Handed to a worker")
        return case

    def turn(self) -> None:
        self._look()
        self._cases = [case for case in self._cases if not case.done]
        for case in self._cases:
            if case.worker is not None and (case.failed_with_worker or case.worker not in self._workers):
                case.take_back()
            if case.worker is None and self._deserted:
                case.give_up()
            elif case.worker is None and not case.done and (idle := self._idle()):
                case.give_to(idle[0])
        time.sleep(0.05)

    def close(self) -> None:
        for case in self._cases:
            case.take_back()
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            self._client.close(timeout=5)

    def _look(self) -> None:
        """Find out which workers there are now."""
        if time.monotonic() - self._looked < _LOOK_AGAIN_S:
            return
        try:
            self._workers = set(self._client.scheduler_info(n_workers=-1)["workers"])
        except (OSError, RuntimeError, TimeoutError) as error:
            raise JobError("The dask scheduler was lost. Start the batch again, and it goes on.") from error
        self._looked = time.monotonic()
        if self._workers:
            self._seen = self._looked

    def _idle(self) -> list[str]:
        """Return the workers without a case, so that none of them waits behind another one and dies with it."""
        busy = {case.worker for case in self._cases if not case.done}
        return sorted(self._workers - busy)

    @property
    def _deserted(self) -> bool:
        """Whether there have been no workers for so long that none will come back."""
        return not self._workers and time.monotonic() - self._seen > self._patience

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
    """A case that one of the workers has. A second one gets it if the first is lost."""

    def __init__(self, client: Any, params: dict[str, Any]) -> None:
        self.worker: str | None = None
        self._client, self._params = client, params
        self._future: Any = None
        self._lost = 0
        self._error: WorkerDied | None = None

    @property
    def done(self) -> bool:
        if self._error is not None:
            return True
        return self._future is not None and bool(self._future.done()) and not self.failed_with_worker

    @property
    def failed_with_worker(self) -> bool:
        """Whether dask has given the case up because its worker died."""
        if self._future is None or not self._future.done():
            return False
        return self._future.status in ("cancelled", "lost") or (
            self._future.status == "error" and type(self._future.exception()).__name__ in _LOST
        )

    def give_to(self, worker: str) -> None:
        self.worker = worker
        self._future = self._client.submit(_work, self._params, pure=False, workers=[worker])

    def take_back(self) -> None:
        """Note that the worker is lost."""
        if self._future is not None and not self._future.done():
            self._future.cancel()
        self._future, self.worker = None, None
        self._lost += 1
        if self._lost >= _WORKERS_A_CASE_MAY_LOSE:
            self.give_up()

    def give_up(self) -> None:
        self._error = WorkerDied("The workers that had this case were lost. Most likely their memory did not suffice.")

    def result(self) -> dict[str, Any]:
        if self._error is not None:
            raise self._error
        try:
            answer = self._future.result()
        except Exception as error:
            logger.debug("worker: %r", error)
            raise JobError(f"A worker failed in a way that MedDL did not foresee ({type(error).__name__}).") from error
        if "error" in answer:
            raise from_dict(answer["error"])
        record: dict[str, Any] = answer["record"]
        return record


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
