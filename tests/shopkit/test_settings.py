import pytest

from shopkit.runtime.settings import Settings, load


class ShopSettings(Settings, frozen=True, kw_only=True):
    database_url: str
    patience: int = 3


def test_each_field_is_the_variable_of_its_name_in_capitals() -> None:
    settings = load(ShopSettings, {"DATABASE_URL": "postgresql://x", "PORT": "9000", "HOME": "/root"})
    assert (settings.database_url, settings.port, settings.patience) == ("postgresql://x", 9000, 3)


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SystemExit, match="DATABASE_URL"):
        load(ShopSettings, {"PORT": "9000"})


@pytest.mark.parametrize("name", ["PORT", "PATIENCE"])
def test_a_wrong_variable_is_named(name: str) -> None:
    with pytest.raises(SystemExit, match=name):
        load(ShopSettings, {"DATABASE_URL": "postgresql://x", name: "many"})
