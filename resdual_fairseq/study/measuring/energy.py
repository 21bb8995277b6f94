"""The energy of a piece of work, by codecarbon where it is installed."""

from __future__ import annotations

import importlib.util
import logging
from typing import Callable, Optional, Tuple, TypeVar

T = TypeVar("T")
JOULES = 3.6e6
"""In a kWh."""


class Meter:
    """Reads the whole machine's energy: processor, memory and, where there are any, its GPUs.

    Hence nothing else may be at work. Where the processor has counters that may be read (RAPL),
    and of NVIDIA's GPUs, it is measured; else codecarbon estimates it from the processor's name
    and load. The memory's power it always estimates, from its size.

    Attributes:
        measures: whether the processor's energy is measured.
    """

    def __init__(self) -> None:
        from codecarbon import OfflineEmissionsTracker
        from codecarbon.core.cpu import is_rapl_available

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        # The country decides emissions, which nobody reads here.
        self.tracker = OfflineEmissionsTracker(
            country_iso_code="FRA", output_methods=[], emissions_endpoint=None, log_level="critical"
        )
        self.measures: bool = is_rapl_available()
        self.joules(lambda: None)  # looks for the hardware, which takes seconds

    def joules(self, work: Callable[[], T]) -> Tuple[T, float]:
        """What the work gives, and the energy that the machine took meanwhile."""
        self.tracker.start_task()
        try:
            given = work()
        finally:
            taken = self.tracker.stop_task()
        return given, taken.energy_consumed * JOULES


def find_meter() -> Optional[Meter]:
    """None where codecarbon is not installed."""
    return Meter() if importlib.util.find_spec("codecarbon") else None
