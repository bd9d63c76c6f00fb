"""The page uses the language of the browser, or the one that the user has chosen."""

from playwright.async_api import expect

from tests.browser.conftest import NewVisitor
from tests.browser.visitor import Visitor
from tests.support import new_user


async def test_the_whole_purchase_works_in_russian(new_visitor: NewVisitor) -> None:
    visitor = await new_visitor(locale="ru-RU")
    page = visitor.page
    await visitor.enter(new_user())
    await expect(page.locator("html")).to_have_attribute("lang", "ru")
    await expect(visitor.part("connection")).to_have_text("На связи")
    await visitor.part("open-account").click()
    await visitor.sees_balance("0,00 ₽")
    await visitor.top_up("1 000,50")
    await visitor.sees_balance("1 000,50 ₽")
    await page.get_by_role("button", name="Шерстяные носки").click()
    await page.get_by_role("button", name="Заказать").click()
    await visitor.sees_order("Шерстяные носки", "FINISHED")
    await visitor.sees_toast("Заказ оплачен", "Шерстяные носки", "385,00 ₽")
    await visitor.sees_balance("615,50 ₽")
    await visitor.order("5000", "самовар")
    row = await visitor.sees_order("самовар", "CANCELLED")
    await expect(row).to_contain_text("не хватило денег")
    await visitor.screenshot("russian")
    await visitor.order("ничего", "самовар")
    await expect(page.get_by_role("alert")).to_have_text("Напишите так: 400 или 400,50.")


async def test_a_chosen_language_applies_immediately_and_is_remembered(visitor: Visitor) -> None:
    await visitor.enter(new_user())
    await visitor.order("10.00", "wool socks")
    row = await visitor.sees_order("wool socks", "CANCELLED")
    await expect(row).to_contain_text("no account")
    await visitor.part("language-ru").click()
    await expect(row).to_contain_text("Счёта для оплаты не было.")
    await expect(visitor.part("language-ru")).to_have_attribute("aria-pressed", "true")
    await visitor.page.reload()
    await visitor.live()
    await expect(visitor.page.locator("html")).to_have_attribute("lang", "ru")
    await visitor.part("language-en").click()
    await expect(visitor.part("place-order")).to_have_text("Place the order")
