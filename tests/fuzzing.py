"""Fuzz tests: Hypothesis tests of the parsers of untrusted input."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

GOZON_FUZZ = int(os.environ.get("GOZON_FUZZ", "1"))
TIMEOUT_SECONDS = 180

Test = TypeVar("Test", bound=Callable[..., Any])


def fuzz(examples: int) -> Callable[[Test], Test]:
    """Marks a Hypothesis test as a fuzz test that tries `examples` examples.

    GOZON_FUZZ multiplies the number of examples and the time limit of the test. `.ci/long` sets it.
    """
    hypothesis_settings = settings(
        max_examples=examples * GOZON_FUZZ,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )

    def mark(test: Test) -> Test:
        limited = pytest.mark.timeout(TIMEOUT_SECONDS * GOZON_FUZZ)(hypothesis_settings(test))
        return pytest.mark.fuzz(limited)

    return mark
