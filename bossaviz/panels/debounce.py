"""Wait until typing pauses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Debounce:
    """Calls ``act`` with the newest value once no other has come for ``seconds``; at once where seconds is 0."""

    def __init__(self, act: Callable[[Any], None], seconds: float) -> None:
        self._act, self._seconds = act, seconds
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def __call__(self, value: Any) -> None:
        """Take a new value."""
        if self._seconds <= 0:
            self._act(value)
            return
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(self._seconds, self._act, (value,))
            self._timer.daemon = True
            self._timer.start()
