"""Switches off what libraries would report about their use, before they are imported."""

from __future__ import annotations

import sys


def switch_off() -> None:
    """Let OpenVINO and NNCF find no package ``openvino_telemetry``.

    At its import OpenVINO sends an event to an analytics host and keeps a client id in the home folder, unless this
    package is absent: both libraries then use an empty stand-in. An entry of None makes its import fail. Where the
    package is already loaded, the user's own program has decided, and nothing is changed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
