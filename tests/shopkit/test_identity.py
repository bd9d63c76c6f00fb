from http import HTTPStatus

import pytest

from shopkit.web.identity import user_id
from shopkit.web.problems import Problem


@pytest.mark.parametrize("value", ["a", "Ann-1.x_y", "x" * 64, "0190a6b2-7c1e-7000-8000-000000000000"])
def test_a_user_is_1_to_64_letters_digits_dots_dashes_and_underscores(value: str) -> None:
    assert user_id(value) == value


@pytest.mark.parametrize("value", ["", " ", "a b", "x" * 65, "ann\n", "Анна", "a/b", "a,b", "a\x00", "{}"])
def test_any_other_user_id_is_rejected_and_the_header_named(value: str) -> None:
    with pytest.raises(Problem) as rejected:
        user_id(value)
    assert rejected.value.status == HTTPStatus.BAD_REQUEST
    assert [error.field for error in rejected.value.errors] == ["X-User-Id"]


def test_a_missing_user_id_is_unauthorized() -> None:
    with pytest.raises(Problem) as rejected:
        user_id(None)
    assert rejected.value.status == HTTPStatus.UNAUTHORIZED
