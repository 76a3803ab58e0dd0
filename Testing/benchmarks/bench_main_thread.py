"""How long the main thread stands still while the panel runs the brain model: the gaps of a fast timer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import harness
from host.pythonqt.binding import QtCore

TICK_MS = 2
GOAL_MS = 50
IDLE_S, AFTER_S = 5.0, 0.5
PHASES = ("submit", "running", "result")


@dataclass
class Ticker:
    """A timer on Qt's event loop that notes when it ticks, and in which phase.

    The processor time of the main thread between two ticks tells a gap of our own making from one in which other
    programs had the processor.
    """

    phase: Callable[[], str]
    ticks: list[tuple[float, float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK_MS)

    def stop(self) -> None:
        self._timer.stop()

    def _tick(self) -> None:
        self.ticks.append((time.perf_counter(), time.thread_time(), self.phase()))

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        """Longest gap of each phase in ms. A gap across the border of two phases belongs to what was done in it."""
        gaps: dict[str, list[tuple[float, float]]] = {}
        for (wall, cpu, phase), (next_wall, next_cpu, next_phase) in zip(self.ticks, self.ticks[1:], strict=False):
            owner = phase if next_phase == "running" else next_phase
            gaps.setdefault(owner, []).append(((next_wall - wall) * 1000, (next_cpu - cpu) * 1000))
        rows = []
        for phase in ("idle", *PHASES):
            if phase in gaps:
                walls, cpus = (sorted(each, reverse=True) for each in zip(*gaps[phase], strict=True))
                seconds = sum(walls) / 1000
                label = name if phase == "idle" else f"{name}: {phase}"
                over = sum(gap > GOAL_MS for gap in walls)
                rows.append((label, f"{walls[0]:.0f}", f"{cpus[0]:.0f}", f"{walls[len(walls) // 2]:.1f}", over,
                             f"{seconds:.1f}"))  # fmt: skip
        return rows


def measure(repeats: int) -> list[harness.Table]:
    logging.getLogger().setLevel(logging.ERROR)
    from demo.session import Session

    session = Session(harness.head(), str(harness.brain_model().path))
    rows = turn_the_loop(IDLE_S, "idle loop")
    rows += run(session, "first run")
    for number in range(1, repeats):
        rows += run(session, f"run {number + 1}")
    # Slicer itself makes the surfaces, on the main thread, at once where the result already had some.
    show = harness.timed(session.show_3d)
    rows += run(session, "run, 3D shown")
    session.close()
    notes = [
        f"a timer of {TICK_MS} ms on Qt's event loop; goal: no gap above {GOAL_MS} ms",
        "main thread CPU: most processor time of the main thread itself in one gap; the rest of a gap is waiting",
        f"pressing Show 3D, for comparison: {show.wall * 1000:.0f} ms, of which {show.cpu * 1000:.0f} ms CPU",
    ]
    columns = ("", "longest gap ms", "main thread CPU ms", "median ms", f"gaps > {GOAL_MS} ms", "seconds")
    return [harness.Table("Gaps of the main thread", columns, rows, notes)]


def turn_the_loop(seconds: float, name: str) -> list[tuple[Any, ...]]:
    ticker, loop = Ticker(lambda: "idle"), QtCore.QEventLoop()
    QtCore.QTimer.singleShot(int(seconds * 1000), loop.quit)
    loop.exec()
    ticker.stop()
    return ticker.rows(name)


def run(session: Any, name: str) -> list[tuple[Any, ...]]:
    """Press Apply within a running event loop, as a click does, and leave it when the result has been shown."""
    panel, loop = session.widget, QtCore.QEventLoop()
    seen: dict[str, bool] = {}

    def phase() -> str:
        job = panel.jobPanel.job
        if job is None:
            # What follows the result (views, selectors) may come with later events: it is watched, too.
            if "began" in seen and "ended" not in seen and not panel.jobPanel.isRunning:
                seen["ended"] = True
                QtCore.QTimer.singleShot(int(AFTER_S * 1000), loop.quit)
            return "result" if "began" in seen else "idle"
        seen["began"] = True
        return {"queued": "submit", "running": "running"}.get(str(job.state), "result")

    ticker = Ticker(phase)
    QtCore.QTimer.singleShot(200, panel.ui.applyButton.click)
    loop.exec()
    ticker.stop()
    if panel.logic.getParameterNode().outputSegmentation is None:
        raise RuntimeError(f"There is no result; the panel says: {panel.ui.statusLabel.text}")
    return [row for row in ticker.rows(name) if row[0] != name]


if __name__ == "__main__":
    harness.main(measure, repeats=2)
