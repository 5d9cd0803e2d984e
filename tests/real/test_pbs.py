"""Whether a real PBS is here: the one test of them that is left where none is."""

from __future__ import annotations

import pytest

from tests.real_parts import pbs_answers, require_real

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_a_pbs_answers() -> None:
    require_real("pbs", found=pbs_answers())
