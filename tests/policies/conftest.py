r"""Fixtures of the tests of policies."""

from __future__ import annotations

import pytest

from tests.policies.helpers import Fitted, fitted_state


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fitted_state()
